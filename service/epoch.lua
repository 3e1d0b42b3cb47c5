-- Before each script: this server's clock, and its memory of itself.
-- ``rv`` holds a random epoch, when it began, and the latest time seen. Where it is lost, of a
-- wrong form, or where the clock went back, a new epoch begins: whatever was stored or dropped
-- before it is a miss, and whoever began a read before it may not store what it finds. All stamps
-- are TIME in ms, compared only with themselves.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function enter_epoch(key, candidate)
    local rv = redis.pcall('HMGET', key, 'epoch', 'seen')
    local epoch, seen = rv[1], tonumber(rv[2] or '')
    -- Positive form on purpose: 'nan' must not pass.
    if not (epoch and #epoch == 32 and not string.find(epoch, '[^0-9a-f]') and seen and seen <= now + 5) then
        redis.call('DEL', key)
        redis.call('HSET', key, 'epoch', candidate, 'began', now, 'seen', now)
        return candidate
    end
    -- Nobody heard for two seconds: this server was away, and may have come back from an old dump, so
    -- that who reports first is not the whole fleet. Not worth an error: a server that is full or
    -- read-only still answers.
    if now - seen > 2000 then redis.pcall('HSET', key, 'began', now) end
    if now > seen then redis.pcall('HSET', key, 'seen', now) end
    return epoch
end

-- Whether everything of one of these accounts was dropped at or after an instant of this epoch.
local function is_cut(accounts, asof, epoch)
    for account in string.gmatch(accounts, '[^,]+') do
        local cut_off = redis.pcall('GET', 'cut:' .. account)
        if cut_off then
            -- An error of a wrong type, or anything else that we did not write, cuts off.
            local at, of = nil, nil
            if type(cut_off) == 'string' then at, of = string.match(cut_off, '^(%d+) (%x+)$') end
            if not at or (of == epoch and not (tonumber(at) < asof)) then return true end
        end
    end
    return false
end

-- LOOK UP a record. KEYS: tk:<digest>, rv. ARGV: candidate epoch, how old an answer may be in ms.
-- Answers {'HIT'|'MISS', now, epoch, as-of, chain, payload, signature}; all stamps are this
-- server's own TIME in ms, compared only with themselves. It never says "revoked": a drop makes a
-- miss, and the database gives the reason.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.pcall('HGET', KEYS[2], 'epoch')
if type(epoch) ~= 'string' then
    -- Lost, evicted or of a wrong type: a new epoch, in which every entry is a miss.
    epoch = ARGV[1]
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'epoch', epoch)
end
local entry = redis.pcall('HMGET', KEYS[1], 'state', 'asof', 'epoch', 'chain', 'payload', 'signature')
if entry.err or entry[1] ~= 'LIVE' or entry[3] ~= epoch or not entry[4] or not entry[5] then
    return {'MISS', now, epoch}
end
-- Positive form on purpose: 'nan' must not pass, and an as-of after now means the clock went back.
local asof = tonumber(entry[2])
if not (asof and asof <= now and now - asof < tonumber(ARGV[2])) then
    return {'MISS', now, epoch}
end
for account in string.gmatch(entry[4], '[^,]+') do
    local cut_off = redis.call('HGET', KEYS[2], 'cut:' .. account)
    if cut_off and not (tonumber(cut_off) and tonumber(cut_off) < asof) then
        return {'MISS', now, epoch}
    end
end
return {'HIT', now, epoch, entry[2], entry[4], entry[5], entry[6]}

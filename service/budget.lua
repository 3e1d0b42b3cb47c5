-- Take points out of buckets that fill up again by themselves; one that is not there is full.
-- KEYS: a name for all, a bucket each. ARGV: "capacity restored-per-second ahead", the points each;
-- a negative number takes as many, and none ahead.
-- Gives the time, nothing, and for each: what is left, how many points were taken ahead, and the
-- milliseconds until there is enough; 0 where there was, and it is taken.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local capacity, restored, ahead = string.match(ARGV[1], '^(%d+) (%d+) (%d+)$')
capacity, restored, ahead = tonumber(capacity), tonumber(restored), tonumber(ahead)
local answers = {now, ''}
for place = 2, #KEYS do
    local asked = tonumber(ARGV[place])
    local wanted = math.abs(asked)
    local kept = redis.pcall('GET', KEYS[place])
    local left, since = string.match(type(kept) == 'string' and kept or '', '^(%d+%.?%d*) (%d+)$')
    left, since = tonumber(left or capacity), tonumber(since or now)
    -- A clock that goes back restores nothing, and takes nothing either.
    left = math.min(capacity, left + math.max(0, now - since) * restored / 1000)
    local more, wait = 0, 0
    if wanted <= left then
        more = asked > 0 and math.min(ahead, math.floor(left - wanted)) or 0
        left = left - wanted - more
        local full_in = math.ceil((capacity - left) * 1000 / restored) + 1
        redis.call('SET', KEYS[place], string.format('%.3f %.0f', left, now), 'PX', full_in)
    else
        wait = math.ceil((wanted - left) * 1000 / restored)
    end
    answers[#answers + 1] = {math.floor(left), more, wait}
end
return answers

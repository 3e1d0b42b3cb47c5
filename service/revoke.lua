-- REVOKE: drop one record, or all of an account at once by its cut-off. Run after COMMIT; harmless
-- to repeat. KEYS: tk:<digest> (or any key of the slot), rv. ARGV: 'TOKEN'|'ACCOUNT', digest in hex
-- or account id, lease in ms, channel.
-- The tombstone outlives every read that began before it; safety does not depend on it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == 'TOKEN' then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'state', 'DROPPED', 'asof', now)
    redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[3]))
else
    redis.call('HSET', KEYS[2], 'cut:' .. ARGV[2], now)
end
redis.call('PUBLISH', ARGV[4], ARGV[1] .. ' ' .. ARGV[2])
return now

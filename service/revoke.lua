-- REVOKE: drop one record, or all of an account at once by its cut-off. Run after COMMIT; harmless
-- to repeat. KEYS: tk:<digest> or cut:<account>, rv. ARGV: candidate epoch, 'TOKEN'|'ACCOUNT',
-- digest in hex or account id, lease in ms, channel.
-- Answers {epoch, revision}, which it also tells everybody who listens. Tombstone and cut-off
-- outlive every read that began before them; safety does not depend on them.
-- First of all: a server that is full refuses a script's first write, unless it frees.
redis.call('DEL', KEYS[1])
local epoch = enter_epoch(KEYS[2], ARGV[1])
-- In microseconds of this clock, and always one more than the last: a server that comes back from
-- an old dump, epoch and all, does not give out a revision twice.
local last = tonumber(redis.call('HGET', KEYS[2], 'revision') or '0')
if not (last and last >= 0 and last < 9e15) then last = 0 end
local revision = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('HSET', KEYS[2], 'revision', revision)
if ARGV[2] == 'TOKEN' then
    redis.call('HSET', KEYS[1], 'state', 'DROPPED', 'asof', now, 'epoch', epoch)
    redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[4]))
else
    redis.call('SET', KEYS[1], string.format('%.0f', now) .. ' ' .. epoch, 'PX', 2 * tonumber(ARGV[4]))
end
redis.call('PUBLISH', ARGV[5], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. epoch .. ' ' .. revision)
return {epoch, revision}

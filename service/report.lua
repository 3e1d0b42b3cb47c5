-- REPORT what a validator has applied. KEYS: validators, rv. ARGV: candidate epoch, its name, the
-- epoch and the number of the revision. It comes every 250 ms from each validator, so that no step
-- of the clock goes unseen for longer. Answers {now, epoch}.
local epoch = enter_epoch(KEYS[2], ARGV[1])
local report = string.format('%.0f', now) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]
if type(redis.pcall('HSET', KEYS[1], ARGV[2], report)) == 'table' then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], ARGV[2], report)
end
return {now, epoch}

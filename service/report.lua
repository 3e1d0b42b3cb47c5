-- REPORT what a validator has applied. KEYS: validators, rv. ARGV: candidate epoch, its name; the
-- epoch and the number of the revision, its lease in ms and a print of its pepper, in one word. It
-- comes every 250 ms from each validator, so that no step of the clock goes unseen for longer.
-- Answers {now, epoch, lease and pepper of who reported last}.
local epoch = enter_epoch(KEYS[2], ARGV[1])
local report = string.format('%.0f', now) .. ' ' .. ARGV[3]
if type(redis.pcall('HSET', KEYS[1], ARGV[2], report)) == 'table' then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], ARGV[2], report)
end
local terms = string.match(ARGV[3], '%d+ %x+$')
local told = redis.pcall('HMGET', KEYS[2], 'terms')[1]
if told ~= terms then redis.pcall('HSET', KEYS[2], 'terms', terms) end
return {now, epoch, told or terms}

-- FLEET: what the validators report. KEYS: validators, rv. ARGV: candidate epoch, after how many ms
-- of silence one is forgotten, or after a bound of its own if it has told of a longer lease: what it
-- read last may live for as long. Answers {now, last revision, since how many ms this server has been
-- hearing everybody, name, report, …}.
local epoch = enter_epoch(KEYS[2], ARGV[1])
local rv = redis.call('HMGET', KEYS[2], 'revision', 'began')
local began = tonumber(rv[2] or '')
local told = redis.pcall('HGETALL', KEYS[1])
if told.err then
    redis.call('DEL', KEYS[1])
    told = {}
end
local answer = {now, epoch .. ' ' .. (rv[1] or ''), began and began <= now and now - began or 0}
for index = 1, #told, 2 do
    local heard = tonumber(string.match(told[index + 1], '^%d+'))
    local lease = tonumber(string.match(told[index + 1], ' (%d+) %x+$') or 0)
    local silence = math.max(tonumber(ARGV[2]), math.min(2 * lease + 2000, 122000))
    if heard and heard <= now and now - heard < silence then
        answer[#answer + 1] = told[index]
        answer[#answer + 1] = told[index + 1]
    else
        redis.call('HDEL', KEYS[1], told[index])
    end
end
return answer

-- LOOK UP records. KEYS: rv, tk:<digest>, … ARGV: candidate epoch, and for each record how old an
-- answer may be in ms.
-- Answers {now, epoch, answer, …}: each is {as-of, chain, payload, signature}, or nil for a miss. It
-- never says "revoked": a drop makes a miss, and the database gives the reason.
local epoch = enter_epoch(KEYS[1], ARGV[1])
local answers = {now, epoch}
for index = 2, #KEYS do
    local entry = redis.pcall('HMGET', KEYS[index], 'state', 'asof', 'epoch', 'chain', 'payload', 'signature')
    local answer = false
    if not entry.err and entry[1] == 'LIVE' and entry[3] == epoch and entry[4] and entry[5] then
        local asof = tonumber(entry[2])
        -- Positive form on purpose: 'nan' must not pass, and an as-of after now means that the clock
        -- went back.
        if asof and asof <= now and now - asof < tonumber(ARGV[index])
            and not is_cut(entry[4], asof, epoch) then
            answer = {entry[2], entry[4], entry[5], entry[6]}
        end
    end
    answers[index + 1] = answer
end
return answers

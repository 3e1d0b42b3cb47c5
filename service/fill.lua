-- FILL a record that was read from the database. KEYS: tk:<digest>, rv.
-- ARGV: as-of (the now of the look-up before the read), epoch, lease in ms, chain, payload, signature.
-- Refused when the reader was slow, the epoch has changed, or a drop or cut-off is not older than
-- the read: the lease of "Scaling Memcache at Facebook" (NSDI 2013, §3.2.1) in the form of time.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local asof, lease = tonumber(ARGV[1]), tonumber(ARGV[3])
if not (asof and asof <= now and now - asof < lease) then return 'SLOW' end
if redis.pcall('HGET', KEYS[2], 'epoch') ~= ARGV[2] then return 'EPOCH' end
local entry = redis.pcall('HMGET', KEYS[1], 'state', 'asof')
if entry.err then
    redis.call('DEL', KEYS[1])
elseif entry[1] and not (tonumber(entry[2]) and tonumber(entry[2]) < asof) then
    return 'STALE'
end
for account in string.gmatch(ARGV[4], '[^,]+') do
    local cut_off = redis.call('HGET', KEYS[2], 'cut:' .. account)
    if cut_off and not (tonumber(cut_off) and tonumber(cut_off) < asof) then return 'STALE' end
end
redis.call('HSET', KEYS[1], 'state', 'LIVE', 'asof', ARGV[1], 'epoch', ARGV[2],
    'chain', ARGV[4], 'payload', ARGV[5], 'signature', ARGV[6])
redis.call('PEXPIRE', KEYS[1], math.max(1, lease - (now - asof)))
return 'OK'

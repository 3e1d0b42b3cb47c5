-- FILL a record that was read from the database. KEYS: tk:<digest>, rv. ARGV: candidate epoch,
-- as-of (the now of the look-up before the read), its epoch, lease in ms, chain, payload, signature.
-- Refused when the reader was slow, the epoch has changed, or a drop or cut-off is not older than
-- the read: the lease of "Scaling Memcache at Facebook" (NSDI 2013, §3.2.1) in the form of time.
local epoch = enter_epoch(KEYS[2], ARGV[1])
local asof, lease = tonumber(ARGV[2]), tonumber(ARGV[4])
if not (asof and asof <= now and now - asof < lease) then return 'SLOW' end
if epoch ~= ARGV[3] then return 'EPOCH' end
local entry = redis.pcall('HMGET', KEYS[1], 'state', 'asof', 'epoch')
if entry.err then
    redis.call('DEL', KEYS[1])
elseif entry[1] and entry[3] == epoch and not (tonumber(entry[2]) and tonumber(entry[2]) < asof) then
    return 'STALE'
end
if is_cut(ARGV[5], asof, epoch) then return 'STALE' end
redis.call('HSET', KEYS[1], 'state', 'LIVE', 'asof', ARGV[2], 'epoch', epoch,
    'chain', ARGV[5], 'payload', ARGV[6], 'signature', ARGV[7])
redis.call('PEXPIRE', KEYS[1], math.max(1, lease - (now - asof)))
return 'OK'

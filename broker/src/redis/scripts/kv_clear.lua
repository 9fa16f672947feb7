-- Removes a module's store.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 module
-- Returns  how many keys there were that had not expired
-- Writes   kv:<module>, kvkeys:<module>, kvttl:<module>, kvbytes. Their memory is freed behind the scenes.

local P, module = KEYS[1], ARGV[1]
local values, expiry = P .. 'kv:' .. module, P .. 'kvttl:' .. module
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keys = redis.call('HLEN', values) - redis.call('ZCOUNT', expiry, '-inf', now)
redis.call('UNLINK', values, P .. 'kvkeys:' .. module, expiry)
redis.call('HDEL', P .. 'kvbytes', module)
return keys

-- Makes a host known, or known no more; forgets hosts that have been silent for long.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 host, 2 its HostInfo as JSON ('' = it leaves), 3 ms of silence after which a host is forgotten
-- Returns  nothing
-- Writes   hosts (zset host -> last heard of, ms), hostinfo (hash host -> JSON). Forgets at most 100.

local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = redis.call('ZRANGEBYSCORE', P .. 'hosts', '-inf', now - tonumber(ARGV[3]), 'LIMIT', 0, 100)
if ARGV[2] == '' then gone[#gone + 1] = ARGV[1] end
if #gone > 0 then
  redis.call('ZREM', P .. 'hosts', unpack(gone))
  redis.call('HDEL', P .. 'hostinfo', unpack(gone))
end
if ARGV[2] ~= '' then
  redis.call('ZADD', P .. 'hosts', now, ARGV[1])
  redis.call('HSET', P .. 'hostinfo', ARGV[1], ARGV[2])
end

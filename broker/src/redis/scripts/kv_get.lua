-- Reads a key of a module's store.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 module, 2 key
-- Returns  the value; nil when the key is not there or has expired
-- Writes   nothing.

local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', P .. 'kvttl:' .. ARGV[1], ARGV[2])
if ends and tonumber(ends) <= now then return false end
return redis.call('HGET', P .. 'kv:' .. ARGV[1], ARGV[2])

-- Says which invocation takes a dead letter's place: the first one that is named stays the one, so that a retry whose
-- answer was lost is the same retry.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 id, 2 the invocation that is to take its place
-- Returns  nil when there is no such dead letter; else the one that takes its place
-- Writes   i:<id> (field v).

local P, id = KEYS[1], ARGV[1]
if not redis.call('ZSCORE', P .. 'dead', id) then return nil end
local key = P .. 'i:' .. id
if redis.call('EXISTS', key) == 0 then return nil end
redis.call('HSETNX', key, 'v', ARGV[2])
return redis.call('HGET', key, 'v')

-- Drops dead letters: their records go when their results would have. `dead_head.lua` and `dead.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 retention; then ids, at most 500
-- Returns  how many were dropped.
-- Writes   dead, i:<id>, e:<id>, kids:<id>, idem:<key> (expiry).

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dropped = 0
for at = 2, #ARGV do
  local died = redis.call('ZSCORE', P .. 'dead', ARGV[at])
  if died then
    redis.call('ZREM', P .. 'dead', ARGV[at])
    exhume(ARGV[at], tonumber(died), now)
    dropped = dropped + 1
  end
end
return dropped

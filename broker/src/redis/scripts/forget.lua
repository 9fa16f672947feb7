-- Forgets a queue in which nothing waits.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 queue
-- Returns  1 when it is forgotten, 0 when something waits in it
-- Writes   queues, taken, turns, stale, special:<queue>, wake:<queue>.

local P, queue = KEYS[1], ARGV[1]
local list = P .. 'q:' .. queue .. ':'
if redis.call('EXISTS', list .. '0', list .. '1', list .. '2') > 0 then return 0 end
for _, counts in ipairs({'aside', 'scheduled', 'blocked'}) do
  if redis.call('HEXISTS', P .. counts, queue) == 1 then return 0 end
end
redis.call('SREM', P .. 'queues', queue)
for _, hash in ipairs({'taken', 'turns', 'stale'}) do redis.call('HDEL', P .. hash, queue) end
redis.call('DEL', P .. 'special:' .. queue, P .. 'wake:' .. queue)
return 1

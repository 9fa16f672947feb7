-- Sets a limit, or removes it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 scope, 2 limit as JSON ('' = remove it), 3 the queue that it is about, 4 how many may wait in it ('' = any number)
-- Returns  1.
-- Writes   limits, max_queue.

local P = KEYS[1]
if ARGV[2] == '' then
  redis.call('HDEL', P .. 'limits', ARGV[1])
else
  redis.call('HSET', P .. 'limits', ARGV[1], ARGV[2])
end
if ARGV[4] == '' then
  redis.call('HDEL', P .. 'max_queue', ARGV[3])
else
  redis.call('HSET', P .. 'max_queue', ARGV[3], ARGV[4])
end
return 1

-- Adds a schedule, or puts it in the place of the one of its name, whose runs and pause it keeps.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 name, 2 spec (JSON), 3 input, 4 timing (JSON), 5 ms of its first time ('' = never), 6 most schedules
-- Returns  0 = it was there as it is, 1 = added, 2 = changed, 3 = there are too many
-- Writes   s:<name>, schedules. Publishes on due. The next time stays as it is where the timing does.

local P = KEYS[1]
local name, first = ARGV[1], ARGV[5]
local key = P .. 's:' .. name
local old = redis.call('HMGET', key, 'spec', 'input', 'timing', 'paused')
if old[1] == ARGV[2] and old[2] == ARGV[3] then return 0 end
if not old[1] and redis.call('ZCARD', P .. 'schedules') >= tonumber(ARGV[6]) then return 3 end
redis.call('HSET', key, 'spec', ARGV[2], 'input', ARGV[3], 'timing', ARGV[4])
redis.call('HINCRBY', key, 'v', 1)
if old[3] ~= ARGV[4] then
  redis.call('HDEL', key, 'next', 'waits')
  if old[4] or first == '' then
    redis.call('ZADD', P .. 'schedules', '+inf', name)
  else
    redis.call('HSET', key, 'next', first)
    redis.call('ZADD', P .. 'schedules', first, name)
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('PUBLISH', P .. 'due', math.max(0, tonumber(first) - now))
  end
end
return old[1] and 2 or 1

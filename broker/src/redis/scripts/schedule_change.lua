-- Removes, pauses or resumes a schedule.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 name, 2 `remove`, `pause` or `resume`, 3 revision that it must have ('' = any),
--          4 ms of its next time, to resume it ('' = never)
-- Returns  0 = there is none, 1 = done, 2 = it has been changed meanwhile
-- Writes   s:<name>, sr:<name>, su:<name>, schedules. Publishes on due. Times that pass while it is paused are left out.

local P = KEYS[1]
local name, next_at = ARGV[1], ARGV[4]
local key = P .. 's:' .. name
local record = redis.call('HMGET', key, 'v', 'paused')
if not record[1] then return 0 end
if ARGV[3] ~= '' and ARGV[3] ~= record[1] then return 2 end
if ARGV[2] == 'remove' then
  redis.call('DEL', key, P .. 'sr:' .. name)
  redis.call('UNLINK', P .. 'su:' .. name)
  redis.call('ZREM', P .. 'schedules', name)
elseif ARGV[2] == 'pause' and not record[2] then
  redis.call('HSET', key, 'paused', 1)
  redis.call('HDEL', key, 'next', 'waits')
  redis.call('HINCRBY', key, 'v', 1)
  redis.call('ZADD', P .. 'schedules', '+inf', name)
elseif ARGV[2] == 'resume' and record[2] then
  redis.call('HDEL', key, 'paused')
  redis.call('HINCRBY', key, 'v', 1)
  if next_at ~= '' then
    redis.call('HSET', key, 'next', next_at)
    redis.call('ZADD', P .. 'schedules', next_at, name)
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('PUBLISH', P .. 'due', math.max(0, tonumber(next_at) - now))
  end
end
return 1

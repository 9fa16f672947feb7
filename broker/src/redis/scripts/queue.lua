-- What waits in one queue.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 queue
-- Returns  invocations that wait for a host; ms that the first of them has waited (looked for among the first 100 ids);
--          invocations that wait for a time; invocations that wait for others; how many hosts have taken so far
-- Writes   nothing.

local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local list = P .. 'q:' .. ARGV[1] .. ':1'
local depth = redis.call('LLEN', list) - tonumber(redis.call('HGET', P .. 'stale', ARGV[1]) or 0)
local blocked = tonumber(redis.call('HGET', P .. 'blocked', ARGV[1]) or 0)
local taken = tonumber(redis.call('HGET', P .. 'taken', ARGV[1]) or 0)
local scheduled = tonumber(redis.call('HGET', P .. 'scheduled', ARGV[1]) or 0)
for _, id in ipairs(redis.call('LRANGE', list, 0, 99)) do
  local record = redis.pcall('HMGET', P .. 'i:' .. id, 's', 'h', 'n')
  local submitted = string.match(record[2] or '', '^(%d+) ')
  if submitted and (not record[1] or string.byte(record[1]) == 113) then
    -- 113 is q.
    local since = math.max(tonumber(submitted), tonumber(record[3] or 0))
    return {math.max(depth, 0), math.max(0, now - since), scheduled, blocked, taken}
  end
end
return {math.max(depth, 0), 0, scheduled, blocked, taken}

-- What waits in one queue.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 queue
-- Returns  invocations that wait; ms that the first of them has waited (looked for among the first 100 ids)
-- Writes   nothing.

local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local list = P .. 'q:' .. ARGV[1] .. ':1'
local depth = redis.call('LLEN', list) - tonumber(redis.call('HGET', P .. 'stale', ARGV[1]) or 0)
for _, id in ipairs(redis.call('LRANGE', list, 0, 99)) do
  local record = redis.pcall('HMGET', P .. 'i:' .. id, 's', 'h')
  local submitted = string.match(record[2] or '', '^(%d+) ')
  if submitted and (not record[1] or string.byte(record[1]) == 113) then
    -- 113 is q.
    return {math.max(depth, 0), math.max(0, now - tonumber(submitted))}
  end
end
return {math.max(depth, 0), 0}

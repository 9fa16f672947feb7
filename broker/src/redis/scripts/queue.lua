-- What waits in one queue.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 queue
-- Returns  invocations that wait for a host; ms that the one that has waited longest has waited (looked for among the
--          first 100 entries of each band, and behind 50 limits that hold something back); invocations that wait for a time; invocations that wait for others; how many
--          hosts have taken so far
-- Writes   nothing.

local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local list = P .. 'q:' .. ARGV[1] .. ':'

-- Since when the first of a list has waited; nil when there is none.
local function first(list)
  for _, id in ipairs(redis.call('LRANGE', list, 0, 99)) do
    -- 64 is @: the turn of a key; 33 is !: a limit has let it go.
    if string.byte(id) == 64 then id = redis.call('LINDEX', list .. ' ' .. id, 0) or id end
    if string.byte(id) == 33 then id = string.sub(id, 2, 37) end
    local record = redis.pcall('HMGET', P .. 'i:' .. id, 's', 'h', 'n')
    local submitted, queue = string.match(record[2] or '', '^(%d+) (%S+) ')
    -- 113 is q. What was moved to another queue has left its id behind.
    if submitted and queue == ARGV[1] and (not record[1] or string.byte(record[1]) == 113) then
      return math.max(tonumber(submitted), tonumber(record[3] or 0))
    end
  end
end

local depth = redis.call('LLEN', list .. '1')
for _, counts in ipairs({'aside', 'stale'}) do
  local count = tonumber(redis.call('HGET', P .. counts, ARGV[1]) or 0)
  depth = depth + (counts == 'aside' and count or -count)
end
local oldest = now
for band = 0, 2 do
  oldest = math.min(oldest, first(list .. band) or now)
end
for _, scope in ipairs(redis.call('SRANDMEMBER', P .. 'waiting', 50)) do
  if redis.call('SISMEMBER', P .. 'parked:' .. scope, ARGV[1]) == 1 then
    for band = 0, 2 do
      oldest = math.min(oldest, first(list .. band .. ' !' .. scope) or now)
    end
  end
end
local scheduled = tonumber(redis.call('HGET', P .. 'scheduled', ARGV[1]) or 0)
local blocked = tonumber(redis.call('HGET', P .. 'blocked', ARGV[1]) or 0)
local taken = tonumber(redis.call('HGET', P .. 'taken', ARGV[1]) or 0)
return {math.max(depth, 0), math.max(0, now - oldest), scheduled, blocked, taken}

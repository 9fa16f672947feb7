-- Shared by release, reserve, settle, submit and tick: notes what falls due when, and writes it in the end.
-- Prepended to those scripts. What has nothing to note calls nothing.
--
-- Expects before it is called: P (key prefix).

local dues, soonest, counts = {}, nil, {}

-- The invocation is to be looked at when it is `at`, in ms.
local function due(id, at)
  dues[#dues + 1], dues[#dues + 2] = at, id
  if not soonest or at < soonest then soonest = at end
end

-- What was noted for it in this very call holds no more. A call notes few.
local function undue(id)
  for at = #dues, 2, -2 do
    if dues[at] == id then
      table.remove(dues, at)
      table.remove(dues, at - 1)
    end
  end
  if #dues == 0 then soonest = nil end
end

-- So many more (or fewer) invocations of this queue are scheduled.
local function scheduled(queue, more)
  counts[queue] = (counts[queue] or 0) + more
end

-- One more invocation of this queue waits for others, or one fewer.
local function count_blocked(queue, more)
  if redis.call('HINCRBY', P .. 'blocked', queue, more) <= 0 then redis.call('HDEL', P .. 'blocked', queue) end
end

-- Writes what was noted. The tickers are told when something is due before everything that they know of.
local function write_dues(now)
  if soonest then
    local first = tonumber(redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2])
    for from = 1, #dues, 1000 do
      redis.call('ZADD', P .. 'due', unpack(dues, from, math.min(from + 999, #dues)))
    end
    if not first or soonest < first then redis.call('PUBLISH', P .. 'due', math.max(0, soonest - now)) end
  end
  for queue, more in pairs(counts) do
    if redis.call('HINCRBY', P .. 'scheduled', queue, more) <= 0 then
      redis.call('HDEL', P .. 'scheduled', queue)
    end
  end
  dues, soonest, counts = {}, nil, {}
end


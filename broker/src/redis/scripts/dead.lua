-- Shared by settle and finish: keeps failures as dead letters. Prepended to the scripts that settle or finish.
-- What has not failed calls nothing here.
--
-- Expects before it is called: P (key prefix), retention (`<result TTL ms> <dead letters' TTL ms> <most dead letters>`).
-- bury(id, ttl, now): notes a failure; returns the ms that its record is kept, at least `ttl`.
-- record_ttl(id, own): the ms that the record of what has ended is kept.
-- trim_dead(now): once, after everything was buried: those over the cap go, oldest first, and their records go when
-- their results would have. Bounds: as many as were buried and 100 more.
-- Writes   dead; for what it trims: i:<id>, e:<id>, kids:<id>, idem:<key> (expiry).

local result_ttl, dead_ttl, dead_cap = string.match(retention, '^(%d+) (%d+) (%d+)$')
dead_ttl, dead_cap = tonumber(dead_ttl), tonumber(dead_cap)
local buried = 0

local function bury(id, ttl, now)
  if dead_cap == 0 then return ttl end
  redis.call('ZADD', P .. 'dead', now, id)
  buried = buried + 1
  return math.max(tonumber(ttl), dead_ttl)
end

-- The ms that a record is kept from now on, with its own result TTL (nil or false: the usual one).
local function record_ttl(id, own)
  local ttl = tonumber(own or result_ttl)
  return redis.call('ZSCORE', P .. 'dead', id) and math.max(ttl, dead_ttl) or ttl
end

-- What stands beside the record of what has ended goes when that goes, in `ttl` ms (nil: nobody knows yet): its events (field
-- e), what it has called (y), and the idempotency key that it holds (m).
local function keep_beside(id, e, y, m, ttl)
  local function keep(key)
    if ttl then redis.call('PEXPIRE', key, ttl) else redis.call('PERSIST', key) end
  end
  if e then keep(P .. 'e:' .. id) end
  if y then keep(P .. 'kids:' .. id) end
  if not m or not string.find(m, '"idem"', 1, true) then return end
  local is_read, more = pcall(cjson.decode, m)
  local key = is_read and more.idem and P .. 'idem:' .. more.idem.key
  if key and string.sub(redis.call('GET', key) or '', 1, #id) == id then keep(key) end
end

-- The record of what is a dead letter no more, and ended `at`: it goes when its result goes. One that others read, field u,
-- is kept until they have.
local function exhume(id, at, now)
  local key = P .. 'i:' .. id
  local record = redis.pcall('HMGET', key, 'l', 'u', 'e', 'y', 'm')
  if record.err or record[2] then return end
  local left = string.format('%.0f', math.max(1, at + (record[1] or result_ttl) - now))
  redis.call('PEXPIRE', key, left, 'LT')
  keep_beside(id, record[3], record[4], record[5], left)
end

local function trim_dead(now)
  if buried == 0 then return end
  local dead = P .. 'dead'
  -- Their records have gone by themselves.
  for _, id in ipairs(redis.call('ZRANGE', dead, '-inf', now - dead_ttl, 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('ZREM', dead, id)
  end
  local over = math.min(redis.call('ZCARD', dead) - dead_cap, buried + 100)
  if over <= 0 then return end
  local oldest = redis.call('ZPOPMIN', dead, over)
  for index = 1, #oldest, 2 do exhume(oldest[index], tonumber(oldest[index + 1]), now) end
end


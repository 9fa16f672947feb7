-- What the scripts that change or list a module's key-value store share. It stands in front of them.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 module, 2 most keys, 3 most bytes of keys and values; the others are the script's own
-- Bounds   100 expired keys removed at each call; 1000 more before a write is refused for want of room
-- Writes   kv:<module>, kvkeys:<module>, kvttl:<module>, kvbytes.

local P, module = KEYS[1], ARGV[1]
local values, order, expiry, sizes = P .. 'kv:' .. module, P .. 'kvkeys:' .. module, P .. 'kvttl:' .. module, P .. 'kvbytes'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function grow(bytes)
  if bytes ~= 0 and redis.call('HINCRBY', sizes, module, bytes) <= 0 then
    redis.call('HDEL', sizes, module)
  end
end

-- Removes a key that is there.
local function remove(key)
  local bytes = #key + redis.call('HSTRLEN', values, key)
  redis.call('HDEL', values, key)
  redis.call('ZREM', order, key)
  redis.call('ZREM', expiry, key)
  grow(-bytes)
end

-- Removes keys that have expired, at most so many; how many it were.
local function purge(most)
  local gone = redis.call('ZRANGE', expiry, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  for _, key in ipairs(gone) do remove(key) end
  return #gone
end

-- The value of a key, or false.
local function read(key)
  local ends = redis.call('ZSCORE', expiry, key)
  if ends and tonumber(ends) <= now then
    remove(key)
    return false
  end
  return redis.call('HGET', values, key)
end

local function lacks(keys, bytes)
  if keys > 0 and redis.call('HLEN', values) + keys > tonumber(ARGV[2]) then return 'keys' end
  if bytes > 0 and (tonumber(redis.call('HGET', sizes, module)) or 0) + bytes > tonumber(ARGV[3]) then return 'bytes' end
end

-- What there is no room for, `keys` or `bytes`, or nil. `again` when so much has expired that it is not known yet.
local function full(keys, bytes)
  if not lacks(keys, bytes) then return nil end
  local gone = purge(1000)
  local lacking = lacks(keys, bytes)
  if lacking and gone == 1000 then return 'again' end
  return lacking
end

-- Sets a key whose value is `old` (false: not there), for `ttl` ms ('' = for ever); what there is no room for, or nil.
local function write(key, old, value, ttl)
  local keys, bytes = 0, #value
  if old then
    bytes = bytes - #old
  else
    keys, bytes = 1, bytes + #key
  end
  local lacking = full(keys, bytes)
  if lacking then return lacking end
  redis.call('HSET', values, key, value)
  if not old then redis.call('ZADD', order, 0, key) end
  if ttl ~= '' then
    redis.call('ZADD', expiry, now + tonumber(ttl), key)
  else
    redis.call('ZREM', expiry, key)
  end
  grow(bytes)
end

purge(100)


-- Shared by cancel, release, reserve, settle, submit and tick: ends an invocation that no host settles. Prepended to those scripts,
-- behind `ended.lua`.
--
-- Expects before it is called: P (key prefix), now (ms), reply_ttl (ms), reply_cap (entries), and `dead.lua`. Who has called it
-- calls trim_dead(now) in the end.
-- finish(id, state, head, record): `head` is an OutcomeHead as JSON, completed here with attempt, queue time,
-- module and host; `record` is what read(id) returned. Writes the outcome, lets the record expire, gives up the
-- module and tells every waiter. One stream entry per waiter: <id> <head>.

local FIELDS = {'s', 'h', 'd', 'w', 'l', 'e', 'c', 'x', 't', 'n', 'm', 'b', 'j', 'k', 'u', 'y', 'g'}

-- The record's small fields by name, or nil when there is none that can be read. Field s is taken apart:
-- state (letter), token ('' before the first reservation), its host, fence number and attempt. Field h gives at (accepted, ms) and q (queue),
-- field m gives more: the features that it uses, or nil.
local function read(id)
  local values = redis.pcall('HMGET', P .. 'i:' .. id, unpack(FIELDS))
  if values.err then return nil end
  local record = {}
  for index, field in ipairs(FIELDS) do
    record[field] = values[index] or nil
  end
  record.at, record.q = string.match(record.h or '', '^(%d+) (%S+) ')
  if not record.q then return nil end
  local state, token = string.match(record.s or 'q', '^(%l)!?(.*)$')
  local host, n, attempt = string.match(token or '', '^(.*)%.(%d+)%.(%d+)$')
  if record.m then
    -- What is damaged reads as nothing.
    local is_read, more = pcall(cjson.decode, record.m)
    record.more = is_read and more or nil
  end
  record.state, record.token, record.host = state, token or '', host or ''
  record.fence, record.attempt = tonumber(n or 0), tonumber(attempt or 0)
  return record
end

-- Field t, `<expires> <deadline>` in ms with 0 for none, of an invocation that waits and has had so many attempts:
-- 'e' when it has not started in time, 'f' when it is past its deadline, else nil and when either will be (nil: never).
local function verdict_on(times, attempts)
  if not times then return nil, nil end
  local expires, deadline = string.match(times, '^(%d+) (%d+)$')
  expires, deadline = tonumber(expires or 0), tonumber(deadline or 0)
  if attempts > 0 then expires = 0 end
  if expires > 0 and expires <= now then return 'e', nil end
  if deadline > 0 and deadline <= now then return 'f', nil end
  if expires > 0 and deadline > 0 then return nil, math.min(expires, deadline) end
  return nil, math.max(expires, deadline) > 0 and math.max(expires, deadline) or nil
end

local function push(client, id, head)
  local stream = P .. 'reply:' .. client
  if redis.call('XLEN', stream) >= reply_cap then
    -- Nobody reads this stream: one mark that says "check everything" takes the place of all of it.
    redis.call('XTRIM', stream, 'MAXLEN', 0)
    redis.call('XADD', stream, '*', 'gap', '')
  elseif #head > 4096 then
    redis.call('XADD', stream, '*', id, '')
  else
    redis.call('XADD', stream, '*', id, head)
  end
  redis.call('PEXPIRE', stream, reply_ttl)
end

local function finish(id, state, template, record)
  local key = P .. 'i:' .. id
  local head = cjson.decode(template)
  head.usage.attempt = record.attempt
  head.usage.queue_ms = math.max(0, now - math.max(tonumber(record.at), tonumber(record.n or 0)))
  head.usage.host = record.host
  if record.d and head.usage.attempt > 0 then head.usage.module = 'sha256:' .. record.d end
  head = cjson.encode(head)
  -- The mark `!` keeps the token for people and refuses it from now on: the attempt did not end this.
  redis.call('HSET', key, 's', state .. '!' .. record.token, 'r', head)
  if record.t or record.state == 'w' or record.state == 'b' then redis.call('ZREM', P .. 'due', id) end
  if record.state == 'b' then
    redis.call('HDEL', key, 'k')
    count_blocked(record.q, -1)
  end
  if record.state == 'w' and redis.call('HINCRBY', P .. 'scheduled', record.q, -1) <= 0 then
    redis.call('HDEL', P .. 'scheduled', record.q)
  end
  local ttl = record.l or result_ttl
  if state == 'f' then ttl = bury(id, ttl, now) end
  redis.call('PEXPIRE', key, ttl)
  if record.e then redis.call('PEXPIRE', P .. 'e:' .. id, ttl) end
  if record.d and redis.call('HINCRBY', P .. 'uses', record.d, -1) <= 0 then
    redis.call('HDEL', P .. 'uses', record.d)
  end
  for client in string.gmatch(record.w or '', '%S+') do
    push(client, id, head)
  end
  if record.m or record.b or record.j or record.y then ended(id, state, record) end
end


-- Shared by cancel, release and reserve: ends an invocation that no host settles. Prepended to those scripts.
--
-- Expects before it is called: P (key prefix), now (ms), reply_ttl (ms), reply_cap (entries), result_ttl (ms).
-- finish(id, state, head, record): `head` is an OutcomeHead as JSON, completed here with attempt, queue time,
-- module and host; `record` is what read(id) returned. Writes the outcome, lets the record expire, gives up the
-- module and tells every waiter. One stream entry per waiter: <id> <head>.

local FIELDS = {'s', 'h', 'd', 'w', 'l', 'e', 'c', 'x'}

-- The record's small fields by name, or nil when there is none that can be read. Field s is taken apart:
-- state (letter), token ('' before the first reservation), its host, fence number n and attempt. Field h gives t and q.
local function read(id)
  local values = redis.pcall('HMGET', P .. 'i:' .. id, unpack(FIELDS))
  if values.err then return nil end
  local record = {}
  for index, field in ipairs(FIELDS) do
    record[field] = values[index] or nil
  end
  record.t, record.q = string.match(record.h or '', '^(%d+) (%S+) ')
  if not record.q then return nil end
  local state, token = string.match(record.s or 'q', '^(%l)!?(.*)$')
  local host, n, attempt = string.match(token or '', '^(.*)%.(%d+)%.(%d+)$')
  record.state, record.token, record.host = state, token or '', host or ''
  record.n, record.attempt = tonumber(n or 0), tonumber(attempt or 0)
  return record
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
  head.usage.queue_ms = math.max(0, now - tonumber(record.t))
  head.usage.host = record.host
  if record.d and head.usage.attempt > 0 then head.usage.module = 'sha256:' .. record.d end
  head = cjson.encode(head)
  -- The mark `!` keeps the token for people and refuses it from now on: the attempt did not end this.
  redis.call('HSET', key, 's', state .. '!' .. record.token, 'r', head)
  local ttl = record.l or result_ttl
  redis.call('PEXPIRE', key, ttl)
  if record.e then redis.call('PEXPIRE', P .. 'e:' .. id, ttl) end
  if record.d and redis.call('HINCRBY', P .. 'uses', record.d, -1) <= 0 then
    redis.call('HDEL', P .. 'uses', record.d)
  end
  for client in string.gmatch(record.w or '', '%S+') do
    push(client, id, head)
  end
end


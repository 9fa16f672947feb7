-- Accepts a batch of invocations: resolves each distinct target once, pins its digest, queues in order, or schedules.
-- `prefix.lua`, `due.lua` and `place.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV[1]  1 when all is accepted or nothing, else 0
-- ARGV[2]  number of targets, at most 500; then for each four arguments:
--            name in `names` ('' when a digest is given or the task is built in), digest hex ('' when a name is
--            given or the task is built in), task, queue ('' = the task's own, else `default`)
-- then for each invocation, at most 500, eight arguments:
--            id, number of its target (from 1), header JSON, input, waiting client ('' = none), result TTL ms ('' = default),
--            '' or three moments: when it may start, when it expires, its deadline; each `-`, ms since 1970, or `+` and ms,
--            '' or the features that it uses: one JSON object (`More`), kept as field m
-- Returns  a flat list of refusals: number of the invocation (from 1), 1 = no such module or 2 = no such task or 3 = its
--          queue is full, then the queue, how many wait in it and how many may (of 3 alone).
--          What is not listed is accepted; an id that is known already is accepted and left as it is.
-- Writes   i:<id>, queues, uses, due, scheduled, and what `place.lua` writes.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_whole, target_count = ARGV[1] == '1', tonumber(ARGV[2])
local at = 3

local digests, queues, refusals = {}, {}, {}
for target = 1, target_count do
  local name, digest, task, queue = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  if name ~= '' then
    local entry = redis.call('HGET', P .. 'names', name)
    digest = entry and string.sub(entry, 1, 64)
  end
  if not digest then
    refusals[target] = 1
  elseif digest ~= '' then
    local module = redis.call('HMGET', P .. 'm:' .. digest, 'manifest', 't:' .. task)
    if not module[1] then
      refusals[target] = 1
    elseif not module[2] then
      refusals[target] = 2
    elseif queue == '' then
      queue = module[2]
    end
  end
  digests[target] = digest
  queues[target] = queue ~= '' and queue or 'default'
end

local count = (#ARGV - at + 1) / 8
local keys = {}
for item = 1, count do
  keys[item] = P .. 'i:' .. ARGV[at + (item - 1) * 8]
end
-- Whether any queue is bounded is asked along with whether anything is known.
keys[count + 1] = P .. 'max_queue'
local known = redis.call('EXISTS', unpack(keys))
local is_bounded = known > 0 and redis.call('EXISTS', keys[count + 1]) == 1
if is_bounded then known = known - 1 end

local refused, seen, used, uses = {}, {}, {}, {}
local stamp = string.format('%.0f ', now)
local fields = {'h', '', 'i', ''}

-- How many wait in a queue and how many may, for each that is bounded.
local bounds = {}

local function bound(queue)
  if bounds[queue] == nil then
    local limit = tonumber(redis.call('HGET', P .. 'max_queue', queue) or nil)
    if limit then
      local depth = redis.call('LLEN', P .. 'q:' .. queue .. ':1')
      for _, part in ipairs({'aside', 'scheduled'}) do
        depth = depth + tonumber(redis.call('HGET', P .. part, queue) or 0)
      end
      depth = depth - tonumber(redis.call('HGET', P .. 'stale', queue) or 0)
      bounds[queue] = {depth = depth, limit = limit}
    else
      bounds[queue] = false
    end
  end
  return bounds[queue]
end

-- Notes why an invocation is not accepted.
local function refuse(item, reason, queue, bound)
  local last = #refused
  refused[last + 1], refused[last + 2], refused[last + 3] = item, reason, queue or ''
  refused[last + 4], refused[last + 5] = bound and bound.depth or 0, bound and bound.limit or 0
end

-- Everything is looked at before anything is written, where that may refuse what comes later: what has no room in its
-- queue by its number.
local full = {}
if is_bounded or is_whole then
  local met = {}
  for item = 1, count do
    local id, target = ARGV[at + (item - 1) * 8], tonumber(ARGV[at + (item - 1) * 8 + 1])
    if not met[id] and (known == 0 or redis.call('EXISTS', keys[item]) == 0) then
      met[id] = true
      local bound = is_bounded and not refusals[target] and bound(queues[target])
      if refusals[target] then
        if is_whole then refuse(item, refusals[target]) end
      elseif bound and bound.depth >= bound.limit then
        full[item] = true
        refuse(item, 3, queues[target], bound)
      elseif bound then
        bound.depth = bound.depth + 1
      end
    end
  end
  if is_whole and #refused > 0 then return refused end
end

-- A moment in ms; 0 for none.
local function moment(text)
  if text == '-' then return 0 end
  local span = string.match(text, '^%+(%d+)$')
  return span and now + tonumber(span) or tonumber(text)
end

-- Adds the fields of an invocation that has times, from number `last` on; the last one, and whether it has to wait.
local function time_fields(id, times, last)
  local starts, expires, deadline = string.match(times, '^(%S+) (%S+) (%S+)$')
  starts, expires, deadline = moment(starts), moment(expires), moment(deadline)
  if starts <= now then starts = 0 end
  if expires > 0 or deadline > 0 then
    fields[last + 1], fields[last + 2] = 't', string.format('%.0f %.0f', expires, deadline)
    last = last + 2
  end
  if starts > 0 then
    fields[last + 1], fields[last + 2], fields[last + 3], fields[last + 4] = 's', 'w', 'n', string.format('%.0f', starts)
    last = last + 4
  end
  local first = math.huge
  for _, at in ipairs({starts, expires, deadline}) do
    if at > 0 then first = math.min(first, at) end
  end
  if first < math.huge then due(id, first) end
  return last, starts > 0
end

for item = 1, count do
  local id = ARGV[at]
  local target = tonumber(ARGV[at + 1])
  if refusals[target] then
    if known == 0 or redis.call('EXISTS', keys[item]) == 0 then
      refuse(item, refusals[target])
    end
  elseif not full[item] and not seen[id] and (known == 0 or redis.call('EXISTS', keys[item]) == 0) then
    seen[id] = true
    local queue, digest, client, ttl = queues[target], digests[target], ARGV[at + 4], ARGV[at + 5]
    fields[2], fields[4] = stamp .. queue .. ' ' .. ARGV[at + 2], ARGV[at + 3]
    local last = 4
    if digest ~= '' then
      fields[last + 1], fields[last + 2] = 'd', digest
      last = last + 2
      uses[digest] = (uses[digest] or 0) + 1
    end
    if client ~= '' then
      fields[last + 1], fields[last + 2] = 'w', client
      last = last + 2
    end
    if ttl ~= '' then
      fields[last + 1], fields[last + 2] = 'l', ttl
      last = last + 2
    end
    local waits = false
    if ARGV[at + 6] ~= '' then last, waits = time_fields(id, ARGV[at + 6], last) end
    local more
    if ARGV[at + 7] ~= '' then
      more = cjson.decode(ARGV[at + 7])
      fields[last + 1], fields[last + 2] = 'm', ARGV[at + 7]
      last = last + 2
    end
    redis.call('HSET', keys[item], unpack(fields, 1, last))
    used[queue] = true
    if waits then
      scheduled(queue, 1)
    else
      place(queue, id, more, false)
    end
  end
  at = at + 8
end

write_places()
for queue in pairs(used) do
  redis.call('SADD', P .. 'queues', queue)
end
for digest, more in pairs(uses) do
  redis.call('HINCRBY', P .. 'uses', digest, more)
end
write_dues(now)
return refused

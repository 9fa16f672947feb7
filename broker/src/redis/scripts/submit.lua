-- Accepts a batch of invocations: resolves each distinct target once, pins its digest, queues in order, or schedules.
-- `prefix.lua`, `due.lua` and `place.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV[1]  number of targets, at most 500; then for each four arguments:
--            name in `names` ('' when a digest is given or the task is built in), digest hex ('' when a name is
--            given or the task is built in), task, queue ('' = the task's own, else `default`)
-- then for each invocation, at most 500, eight arguments:
--            id, number of its target (from 1), header JSON, input, waiting client ('' = none), result TTL ms ('' = default),
--            '' or three moments: when it may start, when it expires, its deadline; each `-`, ms since 1970, or `+` and ms,
--            '' or the features that it uses: one JSON object (`More`), kept as field m
-- Returns  a flat list of refusals: number of the invocation (from 1), 1 = no such module or 2 = no such task.
--          What is not listed is accepted; an id that is known already is accepted and left as it is.
-- Writes   i:<id>, q:<queue>:1, wake:<queue>, queues, uses, due, scheduled.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local target_count = tonumber(ARGV[1])
local at = 2

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
local known = redis.call('EXISTS', unpack(keys))

local refused, seen, used, uses = {}, {}, {}, {}
local stamp = string.format('%.0f ', now)
local fields = {'h', '', 'i', ''}

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
      refused[#refused + 1] = item
      refused[#refused + 1] = refusals[target]
    end
  elseif not seen[id] and (known == 0 or redis.call('EXISTS', keys[item]) == 0) then
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

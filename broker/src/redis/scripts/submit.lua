-- Accepts a batch of invocations: resolves each distinct target once, pins its digest, queues in order, or schedules.
-- `place.lua`, `rest_open.lua`, `dead.lua`, `due.lua`, `ended.lua`, `finish.lua`, `follow.lua`, `join.lua`, `once.lua`,
-- `defaults.lua` and `submit_rest.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV[1]  retention (see `dead.lua`), [2] reply stream TTL ms, [3] reply stream cap in entries
-- ARGV[4]  number of targets, at most 500, with ` whole` behind it when all is accepted or nothing; then for each four arguments:
--            name in `names` ('' when a digest is given or the task is built in), digest hex ('' when a name is
--            given or the task is built in), task, queue ('' = the task's own, else `default`)
-- then for each invocation, at most 500, nine arguments:
--            id, number of its target (from 1), header JSON, input, waiting client ('' = none), result TTL ms ('' = its queue's, else the default),
--            '' or three moments: when it may start, when it expires, its deadline; each `-`, ms since 1970, or `+` and ms,
--            '' or the features that it uses: one JSON object (`More`), kept as field m,
--            '' or what it waits for: f or k (it fails, or is skipped, if they end otherwise) and edges as `follow.lua` has them
-- Returns  a flat list of refusals: number of the invocation (from 1), 1 = no such module or 2 = no such task,
--            or why it cannot wait for what it shall wait for, see `join.lua`; or a letter and an id, see `once.lua`;
--            or, when its queue is full, how many wait in it, how many may, and the queue, with blanks between.
--          What is not listed is accepted; an id that is known already is accepted and left as it is.
-- Writes   i:<id>, queues, uses, due, scheduled, and what `place.lua` writes;
--          its keys: idem:<key>, unique:<key>; of what it waits for: i:<id>, after:<id>, blocked.

local target_count, mode = string.match(ARGV[4], '^(%d+) ?(%a*)$')
local is_whole = mode == 'whole'
local at = 5

local digests, queues, refusals, defaults = {}, {}, {}, {}
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
    else
      -- See TaskDefaults.
      local own, json = string.match(module[2], '^(%S*) ?(.*)$')
      if queue == '' then queue = own end
      if json ~= '' then defaults[target] = cjson.decode(json) end
    end
  end
  digests[target] = digest
  queues[target] = queue ~= '' and queue or 'default'
end

local count = (#ARGV - at + 1) / 9
local keys = {}
for item = 1, count do
  keys[item] = P .. 'i:' .. ARGV[at + (item - 1) * 9]
end
-- Whether any queue is bounded, or keeps results for a time of its own, is asked along with whether anything is known.
keys[count + 1], keys[count + 2] = P .. 'max_queue', P .. 'retention'
local known = redis.call('EXISTS', unpack(keys))
local is_bounded = known > 0 and redis.call('EXISTS', keys[count + 1]) == 1
local has_ttls = known > 0 and redis.call('EXISTS', keys[count + 2]) == 1
if is_bounded then known = known - 1 end
if has_ttls then known = known - 1 end

-- Invocations that wait are looked at this often, in ms, in case something went missing.
local SWEEP = 600000

local refused, seen, used, uses, hopeless = {}, {}, {}, {}, {}
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

-- How long the results of a queue are kept, '' for the usual time.
local ttls = {}

-- Notes why an invocation is not accepted.
local function refuse(item, reason)
  refused[#refused + 1], refused[#refused + 2] = item, reason
end

-- Everything is looked at before anything is written, where that may refuse what comes later: what has no room in its
-- queue by its number.
local full = {}

-- Whether another invocation stands for this one, of the store or of this very batch, so that it takes no room.
local met_keys = {}
local function is_another(more)
  if not more or not (more.idem or more.unique) then return false end
  if more.idem and met_keys['i' .. more.idem.key] or more.unique and met_keys['u' .. more.unique.key] then return true end
  return rest().clash(more) ~= nil
end

-- Whether there is room for one more, which is taken then.
local function fits(bound, more)
  if bound.depth >= bound.limit then return false end
  bound.depth = bound.depth + 1
  if more and more.idem then met_keys['i' .. more.idem.key] = true end
  if more and more.unique then met_keys['u' .. more.unique.key] = true end
  return true
end

if is_bounded or is_whole then
  local met = {}
  for item = 1, count do
    local first = at + (item - 1) * 9
    local id, target = ARGV[first], tonumber(ARGV[first + 1])
    if not met[id] and (known == 0 or redis.call('EXISTS', keys[item]) == 0) then
      met[id] = true
      -- What waits for others is not counted, before or now.
      local bound = is_bounded and not refusals[target] and ARGV[first + 8] == '' and bound(queues[target])
      if refusals[target] then
        if is_whole then refuse(item, refusals[target]) end
      elseif bound then
        local more = ARGV[first + 7] ~= '' and cjson.decode(ARGV[first + 7]) or nil
        if not is_another(more) and not fits(bound, more) then
          full[item] = true
          refuse(item, string.format('%.0f %.0f %s', bound.depth, bound.limit, queues[target]))
        end
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

-- Adds the fields of an invocation that has times, from number `last` on; the last one, whether it has to wait for its
-- time, and when it is to be looked at first (math.huge: never).
local function time_fields(times, last)
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
  return last, starts > 0, first
end

local function write_uses()
  for digest, more in pairs(uses) do
    redis.call('HINCRBY', P .. 'uses', digest, more)
  end
  uses = {}
end

for item = 1, count do
  local id = ARGV[at]
  local target = tonumber(ARGV[at + 1])
  local ttl, times, features = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  if defaults[target] then
    ttl, times, features = rest().with_defaults(defaults[target], ttl, times, features)
  end
  local is_new = not seen[id] and (known == 0 or redis.call('EXISTS', keys[item]) == 0)
  local refusal, parents, chain = refusals[target], nil, nil
  local more = features ~= '' and cjson.decode(features) or nil
  if is_new and not refusal and more then refusal = rest().clash(more) end
  if is_new and not refusal and ARGV[at + 8] ~= '' then refusal, parents, chain = rest().check_parents(ARGV[at + 8]) end
  if is_new and not refusal and not full[item] and more and more.parent and not rest().is_called(id, more.parent) then
    refusal = 14
  end
  if refusal then
    if is_new then
      refuse(item, refusal)
    end
  elseif is_new and not full[item] then
    seen[id] = true
    local queue, digest, client = queues[target], digests[target], ARGV[at + 4]
    if has_ttls and ARGV[at + 5] == '' then
      ttls[queue] = ttls[queue] or redis.call('HGET', P .. 'retention', queue) or ''
      ttl = rest().least(ttl, ttls[queue])
    end
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
    local waits, first = false, math.huge
    if times ~= '' then last, waits, first = time_fields(times, last) end
    if more then
      fields[last + 1], fields[last + 2] = 'm', features
      last = last + 2
    end
    local pending, unmet = 0, nil
    if parents then
      pending, unmet = rest().join(id, parents)
      fields[last + 1], fields[last + 2] = 'j', string.sub(ARGV[at + 8], 1, 1) .. chain
      last = last + 2
    end
    local is_blocked = pending > 0 or unmet
    if is_blocked then
      -- The later of two values for s stays.
      fields[last + 1], fields[last + 2], fields[last + 3], fields[last + 4] = 'k', pending, 's', 'b'
      last = last + 4
      first = math.min(first, now + SWEEP)
      if unmet then hopeless[#hopeless + 1] = {id, unmet} end
    end
    redis.call('HSET', keys[item], unpack(fields, 1, last))
    if more then
      if more.unique then
        -- What it replaces may have come in this very call: the counts have it before it is taken off them.
        write_uses()
        rest().write_dues(now)
      end
      rest().claim(id, more)
    end
    used[queue] = true
    if first < math.huge then rest().due(id, first) end
    if is_blocked then
      rest().count_blocked(queue, 1)
    elseif waits then
      rest().scheduled(queue, 1)
    else
      place(queue, id, more, false)
    end
  end
  at = at + 9
end

for queue in pairs(used) do
  redis.call('SADD', P .. 'queues', queue)
end
write_uses()
if made then
  made.write_dues(now)
  for _, item in ipairs(hopeless) do
    local id, parent = unpack(item)
    made.end_unmet(id, made.read(id), parent.id, parent.letter)
  end
  made.follow_up(200)
end
write_places()
if made then
  made.write_dues(now)
  made.trim_dead(now)
end
return refused

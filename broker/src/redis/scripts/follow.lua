-- Shared by every script that ends invocations: tells those who wait for them. `finish.lua` stands in front of it.
--
-- Expects before it is called: P, now or clock(), and what `ended` has noted.
-- follow_up(most): looks at so many dependents and parents at most. What is left stands in `ends` and is done by tick, which
-- is told at once: an end with a thousand dependents, or a chain of a thousand, holds nobody up.
-- An edge is 37 characters: the dependent's id, and what it wants of its parent: s (success), f (failure) or d (any end).
-- What a cancel with its children fells is cancelled in the same way: what it has called, what that has called, and so on.
-- Writes   i:<id>, after:<id>, ends, blocked, due, scheduled, q:<queue>:1; for what it ends: as finish. Publishes on due.

local HEAD = '{"code":"%s","failure":{"kind":"%s","message":"%s","retryable":false},'
  .. '"usage":{"fuel":0,"peak_memory_bytes":0,"queue_ms":0,"run_ms":0,"attempt":0,"host":""}}'
local CAME_TO = {s = 'has succeeded', f = 'has failed', c = 'was cancelled', e = 'has expired'}

-- Whether an end with this letter is what a dependent wants. What was cancelled or skipped has neither succeeded nor failed.
local function is_met(wanted, letter)
  return wanted == 'd' or wanted == letter or (wanted == 'f' and letter == 'e')
end

-- Ends what waits for an end that did not come. Field j begins with f (it fails) or k (it is skipped).
local function end_unmet(id, record, parent, letter)
  local skips = string.byte(record.j or 'f') == 107
  local code = skips and 'skipped' or 'dependency_failed'
  local message = string.format('invocation %s, which it waited for, %s', parent, CAME_TO[letter] or 'is not known any more')
  local head = string.format(HEAD, code, code, message)
  finish(id, skips and 'c' or 'f', head, record)
end

-- Cancels one: at once when it waits, by a request to its host when it runs. `mark` is kept with the request: 2 has what it
-- calls from now on refused. What cancel.lua returns.
local function cancel(id, record, mark)
  if not record then return 0 end
  if record.state == 'r' then
    redis.call('HSET', P .. 'i:' .. id, 'x', mark)
    redis.call('PUBLISH', P .. 'host:' .. record.host, id)
    return 2
  end
  if record.state ~= 'b' and record.state ~= 'w' and record.state ~= 'q' then return 3 end
  -- Its id stays in the list (removing it would be O(n)); reserve skips it, `stale` corrects the depth meanwhile.
  if record.state == 'q' then redis.call('HINCRBY', P .. 'stale', record.q, 1) end
  finish(id, 'c', string.format(HEAD, 'cancelled', 'cancelled', 'somebody cancelled the invocation'), record)
  return 1
end

-- Lets an invocation go whose parents have all ended as it wants: into its queue, or to wait for its time.
local function unblock(id, record)
  local key = P .. 'i:' .. id
  redis.call('HDEL', key, 'k')
  count_blocked(record.q, -1)
  local verdict, ends = verdict_on(record.t, 0)
  local starts = tonumber(record.n or 0)
  if starts > now then
    redis.call('HSET', key, 's', 'w')
    scheduled(record.q, 1)
    due(id, math.min(starts, ends or starts))
  else
    redis.call('HSET', key, 's', 'q', 'n', string.format('%.0f', now))
    redis.call('ZREM', P .. 'due', id)
    if verdict or ends then due(id, ends or now) end
    place(record.q, id, record.more, false)
  end
end

-- The parents of an invocation, from its header.
local function parents_of(id)
  local header = redis.call('HGET', P .. 'i:' .. id, 'h')
  local is_read, read_header = pcall(cjson.decode, string.match(header or '', '^%d+ %S+ (.*)$') or '')
  return is_read and read_header.options and read_header.options.after or {}
end

-- One fewer reads what a parent came to; when nobody does, its time to live begins.
local function let_go(parent)
  local key = P .. 'i:' .. parent
  local record = redis.pcall('HMGET', key, 'u', 's', 'l', 'e', 'y', 'm')
  local readers = tonumber(record[1] or 0)
  if readers > 1 then
    redis.call('HINCRBY', key, 'u', -1)
  elseif readers == 1 then
    redis.call('HDEL', key, 'u')
    if CAME_TO[string.sub(record[2] or 'q', 1, 1)] then
      local ttl = record_ttl(parent, record[3])
      redis.call('PEXPIRE', key, ttl)
      keep_beside(parent, record[4], record[5], record[6], ttl)
    end
  end
end

local function follow_up(most)
  if #notes == 0 and #freed == 0 and #felled == 0 then return end
  clock()
  local left, rest = most, {}
  -- Dependents whose parents ended as wanted, in order, with how many of them.
  local order, met = {}, {}

  local function tell(edge, parent, letter)
    local id, wanted = string.sub(edge, 1, 36), string.sub(edge, 37)
    if is_met(wanted, letter) then
      if not met[id] then
        order[#order + 1], met[id], left = id, 0, left - 1
      end
      met[id] = met[id] + 1
    else
      left = left - 1
      local record = read(id)
      if record and record.state == 'b' then end_unmet(id, record, parent, letter) end
    end
  end

  -- Grows while it is read: what was called may have called others.
  local felling = 0
  while felling < #felled do
    felling = felling + 1
    local id, from = unpack(felled[felling])
    local kids = left > 0 and redis.call('LRANGE', P .. 'kids:' .. id, from, from + left - 1) or {}
    for _, kid in ipairs(kids) do
      left = left - 1
      local record = read(kid)
      cancel(kid, record, 2)
      if record and record.y then felled[#felled + 1] = {kid, 0} end
    end
    if left <= 0 then rest[#rest + 1] = 'x' .. id .. (from + #kids) end
  end

  -- Grows while it is read: what ends because of an end may have dependents too.
  local at = 0
  while at < #notes do
    at = at + 1
    local id, letter, edges = unpack(notes[at])
    -- 43 is +: more of them stand in a list.
    local has_list = string.byte(edges) == 43
    if left <= 0 then
      rest[#rest + 1] = letter .. id .. edges
    else
      for from = has_list and 2 or 1, #edges, 37 do tell(string.sub(edges, from, from + 36), id, letter) end
      if has_list then
        for _, edge in ipairs(redis.call('LPOP', P .. 'after:' .. id, math.max(1, left)) or {}) do tell(edge, id, letter) end
        if redis.call('EXISTS', P .. 'after:' .. id) == 1 then rest[#rest + 1] = letter .. id .. '+' end
      end
    end
  end

  for _, id in ipairs(order) do
    local record = read(id)
    if record and record.state == 'b' then
      if tonumber(record.k or 0) <= met[id] then
        unblock(id, record)
      else
        redis.call('HINCRBY', P .. 'i:' .. id, 'k', -met[id])
      end
    end
  end

  for _, item in ipairs(freed) do
    local id, from = unpack(item)
    local parents = left > 0 and parents_of(id) or nil
    local last = parents and math.min(#parents, from + left - 1) or from - 1
    for number = from, last do let_go(parents[number].id) end
    left = left - (last - from + 1)
    if not parents or last < #parents then rest[#rest + 1] = '-' .. id .. (last + 1) end
  end

  if #rest > 0 then
    redis.call('RPUSH', P .. 'ends', unpack(rest))
    redis.call('PUBLISH', P .. 'due', 0)
  end
end


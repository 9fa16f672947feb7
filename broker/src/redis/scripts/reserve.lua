-- Gives leases that have run out back to their queues, then takes and leases up to n invocations.
-- `due.lua`, `place.lua`, `ended.lua`, `finish.lua` and `follow.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 host, 2 most invocations, 3 lease ms, 4 bytes of input after which no more are taken,
--          5 crashes that quarantine, 6 head of a cancelled outcome, 7 head of a quarantined outcome,
--          8 retention (see `dead.lua`), 9 reply stream TTL ms, 10 reply stream cap in entries, 11 head of an expired outcome,
--          12 head of an outcome past its deadline,
--          13 ms after which what waits has aged, 14 each how many-th place goes to what has aged while a higher band waits,
--          15... for each queue, first come first: its name, and how many of it are taken before the others had theirs
-- Returns  1 when work remains in these queues else 0; ms until the next lease runs out, -1 when there is none; now in ms;
--          those of these queues that are paused, or all when the host is, with spaces between;
--          then for each invocation: id, token, field h, digest hex or '', input (nil when the record is damaged),
--          '' or, of one that was taken before or has times: `<crashes> <deadline> <start>` with 0 for none, a line feed,
--          and its trail (JSON, or nothing)
-- Bounds   100 leases reaped; 1000 ids skipped that are queued no more (cancelled or expired while they waited)
-- Writes   i:<id>, leases, q:<queue>:<band>, wake:<queue>, hosts, stale, due; where there are bands or keys:
--            q:<queue>:<band> @<key>, special:<queue>, aside, turns; for what it ends: uses, e:<id>, reply:<client>.

local host, most, lease_ms, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local leases = P .. 'leases'

local function requeue(id, record)
  redis.call('HSET', P .. 'i:' .. id, 's', 'q' .. record.token)
  place(record.q, id, record.more, true)
  local verdict, ends = verdict_on(record.t, record.attempt)
  if verdict or ends then due(id, ends or now) end
end

-- When the first lease runs out, or nil.
local function first_expiry()
  return tonumber(redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2])
end

local function reap()
  local due = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)
  redis.call('ZREM', leases, unpack(due))
  for _, id in ipairs(due) do
    local record = read(id)
    if record and record.state == 'r' then
      local crashes = (tonumber(record.c) or 0) + 1
      redis.call('HSET', P .. 'i:' .. id, 'c', crashes)
      if record.x then
        finish(id, 'c', ARGV[6], record)
      elseif crashes >= tonumber(ARGV[5]) then
        finish(id, 'f', ARGV[7], record)
      else
        requeue(id, record)
      end
    end
  end
end

local expiry = first_expiry()
if expiry and expiry <= now then
  reap()
  expiry = first_expiry()
end

local answer = {0, -1, now, ''}
local scored, bytes, taken, skips = {}, 0, 0, 1000

local first_token = host .. '.1.1'

-- What else a host has to know of an invocation that was taken before or has times.
local function history(key, times)
  local more = redis.call('HMGET', key, 'c', 'n', 'a')
  local deadline = times and string.match(times, ' (%d+)$') or '0'
  return (more[1] or '0') .. ' ' .. deadline .. ' ' .. (more[2] or '0') .. '\n' .. (more[3] or '')
end

-- False when the id stands in its list for nothing.
local function take(id)
  local key = P .. 'i:' .. id
  local record = redis.pcall('HMGET', key, 's', 'h', 'i', 'd', 't', 'm')
  local state, times, extra = record[1], record[5], ''
  -- No state means queued as submitted, 113 is q, queued again; no header means no record.
  if record.err or not record[2] or (state and string.byte(state) ~= 113) then return false end
  local token, attempt = first_token, 0
  if state then
    local n, attempts = string.match(state, '%.(%d+)%.(%d+)$')
    attempt = tonumber(attempts or 0)
    token = host .. '.' .. (n or 0) + 1 .. '.' .. attempt + 1
  end
  if times then
    local verdict = verdict_on(times, attempt)
    if verdict then
      finish(id, verdict, verdict == 'e' and ARGV[11] or ARGV[12], read(id))
      skips = skips - 1
      return true
    end
    redis.call('ZREM', P .. 'due', id)
  end
  if times or state then extra = history(key, times) end
  redis.call('HSET', key, 's', 'r' .. token)
  if record[6] then free_when_taken(id, record[6]) end
  scored[#scored + 1] = now + lease_ms
  scored[#scored + 1] = id
  local last = #answer
  answer[last + 1] = id
  answer[last + 2] = token
  answer[last + 3] = record[2]
  answer[last + 4] = record[4] or ''
  answer[last + 5] = record[3]
  answer[last + 6] = extra
  bytes = bytes + #(record[3] or '')
  taken = taken + 1
  return true
end

-- The queues that nothing is taken from now: all of them, when this host is paused.
local is_paused = {}
local function note_pauses(queues)
  local names, paused = {'host:' .. host}, {}
  for index, queue in ipairs(queues) do names[index + 1] = 'queue:' .. queue end
  local since = redis.call('HMGET', P .. 'paused', unpack(names))
  for index, queue in ipairs(queues) do
    if since[1] or since[index + 1] then
      is_paused[queue] = true
      paused[#paused + 1] = queue
    end
  end
  answer[4] = table.concat(paused, ' ')
end

local ageing, share = tonumber(ARGV[13]), tonumber(ARGV[14])
local stales = {}

-- Takes an id that was popped from a list of this queue.
local function take_popped(queue, id)
  if take(id) then return end
  stales[queue] = (stales[queue] or 0) + 1
  skips = skips - 1
end

-- A key's turn: takes its first, and has the key wait for its next turn behind all others.
local function take_turn(queue, band, key)
  if band == 1 then stand_aside(queue, 1) end
  local lane, before = list_of(queue, band, key), taken
  while taken == before and skips > 0 do
    local id = redis.call('LPOP', lane)
    if not id then return end
    stand_aside(queue, -1)
    take_popped(queue, id)
  end
  if redis.call('EXISTS', lane) == 1 then
    redis.call('RPUSH', list_of(queue, band), '@' .. key)
    if band == 1 then stand_aside(queue, -1) end
  end
end

-- Since when the first of a band has waited; false when it is empty.
local function waiting_since(queue, band)
  local entry = redis.call('LINDEX', list_of(queue, band), 0)
  if not entry then return false end
  -- 64 is @.
  if string.byte(entry) == 64 then
    entry = redis.call('LINDEX', list_of(queue, band, string.sub(entry, 2)), 0)
    if not entry then return now end
  end
  local record = redis.pcall('HMGET', P .. 'i:' .. entry, 'h', 'n')
  local accepted = not record.err and string.match(record[1] or '', '^(%d+) ')
  return accepted and math.max(tonumber(accepted), tonumber(record[2] or 0)) or now
end

-- The band whose turn it is, nil when all are empty: the highest; each so many times one below it that has aged.
local function next_band(queue, since)
  local top, aged
  for band = 0, 2 do
    if since[band] == nil then since[band] = waiting_since(queue, band) end
    if since[band] then
      if not top then
        top = band
      elseif now - since[band] >= ageing and (not aged or since[band] < since[aged]) then
        aged = band
      end
    end
  end
  if aged and redis.call('HINCRBY', P .. 'turns', queue, 1) % share == 0 then return aged end
  return top
end

-- Takes from all bands of a queue; whether all are empty.
local function take_bands(queue, enough)
  local since, band = {}, nil
  while taken < enough and bytes < budget and skips > 0 do
    band = next_band(queue, since)
    if not band then break end
    local entry = redis.call('LPOP', list_of(queue, band))
    since[band] = nil
    if string.byte(entry) == 64 then
      take_turn(queue, band, string.sub(entry, 2))
    else
      if band ~= 1 then stand_aside(queue, -1) end
      take_popped(queue, entry)
    end
  end
  if redis.call('EXISTS', list_of(queue, 0), list_of(queue, 2)) == 0 then
    redis.call('DEL', P .. 'special:' .. queue)
    redis.call('HDEL', P .. 'turns', queue)
    return redis.call('EXISTS', list_of(queue, 1)) == 0
  end
  return false
end

-- Takes from a queue until `enough` are taken; whether nothing is left in it.
local function take_queue(queue, enough)
  local special, list = P .. 'special:' .. queue, list_of(queue, 1)
  local is_empty = false
  while taken < enough and bytes < budget and skips > 0 and not is_empty do
    local wanted = math.min(enough - taken, 500)
    local popped = redis.call('LMPOP', 2, special, list, 'LEFT', 'COUNT', wanted)
    if popped and popped[1] == special then
      redis.call('RPUSH', special, '1')
      return take_bands(queue, enough)
    end
    local entries = popped and popped[2] or {}
    is_empty = #entries < wanted
    local rest = {}
    for _, entry in ipairs(entries) do
      if bytes >= budget then
        rest[#rest + 1] = entry
      elseif string.byte(entry) == 64 then
        take_turn(queue, 1, string.sub(entry, 2))
        is_empty = false
      else
        take_popped(queue, entry)
      end
    end
    if #rest > 0 then
      is_empty = false
      for index = #rest, 1, -1 do redis.call('LPUSH', list, rest[index]) end
    end
  end
  return is_empty or redis.call('EXISTS', list, special) == 0
end

local queues = {}
for argument = 15, #ARGV, 2 do queues[#queues + 1] = ARGV[argument] end
note_pauses(queues)

-- The first round gives each queue its share; the second gives what is left to whoever can use it.
-- What is paused is done.
local is_done = is_paused
for _, round in ipairs({1, 2}) do
  for argument = 15, #ARGV, 2 do
    local queue, quota = ARGV[argument], tonumber(ARGV[argument + 1])
    if not is_done[queue] and (round == 1 or taken < most) then
      local enough, before = round == 1 and math.min(most, taken + quota) or most, taken
      is_done[queue] = take_queue(queue, enough)
      if taken > before then redis.call('HINCRBY', P .. 'taken', queue, taken - before) end
    end
  end
end
for argument = 15, #ARGV, 2 do
  local queue = ARGV[argument]
  if not is_done[queue] then
    -- The next idle host wakes too.
    redis.call('ZADD', P .. 'wake:' .. queue, 0, '0')
    answer[1] = 1
  end
  if stales[queue] and redis.call('HINCRBY', P .. 'stale', queue, -stales[queue]) <= 0 then
    redis.call('HDEL', P .. 'stale', queue)
  end
  stales[queue] = nil
end

for from = 1, #scored, 1000 do
  redis.call('ZADD', leases, unpack(scored, from, math.min(from + 999, #scored)))
end
redis.call('ZADD', P .. 'hosts', 'XX', now, host)
follow_up(50)
write_places()
write_dues(now)
trim_dead(now)
if taken > 0 then expiry = math.min(expiry or math.huge, now + lease_ms) end
if expiry then answer[2] = math.max(0, expiry - now) end
return answer

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
-- Bounds   100 leases reaped; 1000 ids skipped that are queued here no more (cancelled, expired or moved while they waited)
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
      if record.g then give_back(id, record.g) end
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

local is_limited, barriers, noted = false, {}, {}

-- The limit of a scope, with how much room there is; false when nothing is held back for it.
local function limit_of(scope, each)
  if barriers[scope] == nil then
    local json = redis.call('HGET', P .. 'limits', scope) or (each and redis.call('HGET', P .. 'limits', each))
    local limit = json and cjson.decode(json) or {}
    if limit.concurrency then limit.running = redis.call('SCARD', P .. 'held:' .. scope) end
    if limit.rate then
      limit.per_ms = limit.rate.count / limit.rate.per_ms
      local bucket = redis.call('HMGET', P .. 'bucket:' .. scope, 't', 'a')
      local filled = bucket[1] and bucket[1] + (now - bucket[2]) * limit.per_ms or limit.burst
      limit.tokens = math.min(limit.burst, filled)
    end
    -- A task that is paused has no room, whatever its limit says.
    limit.is_paused = string.sub(scope, 1, 5) == 'task:' and redis.call('HEXISTS', P .. 'paused', scope) == 1
    limit.scope = scope
    barriers[scope] = (limit.concurrency or limit.rate or limit.is_paused) and limit or false
  end
  return barriers[scope]
end

local function has_room(limit)
  if limit.is_paused then return false end
  if limit.concurrency and limit.running >= limit.concurrency then return false end
  -- What is lost by rounding must not cost a token.
  return not limit.rate or limit.tokens >= 1 - 1e-6
end

-- Something waits for this limit: when there are tokens again is known, and it is looked whether all that count against
-- it still have their leases in a minute.
local function note_barrier(limit)
  if noted[limit.scope] then return end
  noted[limit.scope] = true
  if limit.rate and limit.tokens < 1 - 1e-6 then
    -- At a high rate not for each token by itself: for those of ten milliseconds.
    local wanted = math.min(limit.burst, math.max(1, limit.per_ms * 10))
    due('@' .. limit.scope, now + math.ceil((wanted - limit.tokens) / limit.per_ms))
  end
  if limit.concurrency then redis.call('ZADD', P .. 'due', 'NX', now + 60000, '~' .. limit.scope) end
end

-- The limits that an invocation counts against; and the first of them that has no room.
local function limits_on(header, more)
  local queue, task = string.match(header, '^%d+ (%S+) {"task":"([^"]*)"')
  local found, barrier = {}, nil
  local function add(limit)
    if not limit then return end
    found[#found + 1] = limit
    if not barrier and not has_room(limit) then barrier = limit end
  end
  if queue then add(limit_of('queue:' .. queue)) end
  if task then add(limit_of('task:' .. string.gsub(task, '@[^/]*/', '/'))) end
  if more and more.key then add(limit_of('key:' .. more.key, 'key:*')) end
  return found, barrier
end

-- Counts an invocation that is taken; the scopes where it has to be given back.
local function count_in(id, found)
  local scopes = {}
  for _, limit in ipairs(found) do
    if limit.concurrency then
      redis.call('SADD', P .. 'held:' .. limit.scope, id)
      limit.running = limit.running + 1
      scopes[#scopes + 1] = limit.scope
    end
    if limit.rate then
      limit.tokens = limit.tokens - 1
      limit.is_used = true
    end
  end
  return table.concat(scopes, ' ')
end

-- Has an invocation wait for room.
local function park(queue, id, more, limit, in_front)
  note_barrier(limit)
  local parked, key = (more and more.band or 1) .. ' !' .. limit.scope, more and more.fair
  local push, list = in_front and 'LPUSH' or 'RPUSH', list_of(queue, parked)
  if not key then
    redis.call(push, list, id)
  elseif redis.call(push, list_of(queue, parked, key), id) == 1 then
    redis.call(push, list, '@' .. key)
  end
  stand_aside(queue, 1)
  if redis.call('SADD', P .. 'parked:' .. limit.scope, queue) == 1 then redis.call('SADD', P .. 'waiting', limit.scope) end
end

-- False when the id stands in the list of this queue for nothing; when there is no room for it, the limit and field m.
local function take(id, queue)
  local key = P .. 'i:' .. id
  local record = redis.pcall('HMGET', key, 's', 'h', 'i', 'd', 't', 'm')
  local state, times, extra = record[1], record[5], ''
  -- No state means queued as submitted, 113 is q, queued again; no header means no record.
  if record.err or not record[2] or (state and string.byte(state) ~= 113) then return false end
  -- What was moved to another queue leaves its id behind: `<ms> <queue> <JSON>` names that one. Times have 13 digits until 2286.
  if string.find(record[2], ' ' .. queue .. ' ', 14, true) ~= 14 and string.match(record[2], '^%d+ (%S+) ') ~= queue then
    return false
  end
  local token, attempt = first_token, 0
  if state then
    local n, attempts = string.match(state, '%.(%d+)%.(%d+)$')
    attempt = tonumber(attempts or 0)
    token = host .. '.' .. (n or 0) + 1 .. '.' .. attempt + 1
  end
  local more, found, barrier
  if is_limited then
    if record[6] then
      local is_read, decoded = pcall(cjson.decode, record[6])
      more = is_read and decoded or nil
    end
    found, barrier = limits_on(record[2], more)
  end
  if times then
    local verdict = verdict_on(times, attempt)
    if verdict then
      finish(id, verdict, verdict == 'e' and ARGV[11] or ARGV[12], read(id))
      skips = skips - 1
      return true
    end
    if not barrier then redis.call('ZREM', P .. 'due', id) end
  end
  if barrier then return barrier, more end
  if times or state then extra = history(key, times) end
  local scopes = found and #found > 0 and count_in(id, found) or ''
  if scopes == '' then
    redis.call('HSET', key, 's', 'r' .. token)
  else
    redis.call('HSET', key, 's', 'r' .. token, 'g', scopes)
  end
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

-- Takes an id that was popped from a list of this queue. `scope` is the limit that has let it go, if one has: the next
-- one follows when it is dealt with, unless there is no room for more.
local function take_popped(queue, band, id, scope)
  local taken_or_limit, more = take(id, queue)
  if not taken_or_limit then
    stales[queue] = (stales[queue] or 0) + 1
    skips = skips - 1
  elseif taken_or_limit ~= true then
    park(queue, id, more, taken_or_limit, taken_or_limit.scope == scope)
    skips = skips - 1
    if taken_or_limit.scope == scope then return end
  end
  if scope then
    local limit = limit_of(scope, string.sub(scope, 1, 4) == 'key:' and 'key:*' or nil)
    if not limit or has_room(limit) then
      let_one_go(queue, band, scope)
    else
      note_barrier(limit)
    end
  end
end

-- A key's turn: takes its first, and has the key wait for its next turn behind all others.
local function take_turn(queue, band, key)
  if band == 1 then stand_aside(queue, 1) end
  local lane, before = list_of(queue, band, key), taken
  local parked = skips
  while taken == before and skips > 0 and parked - skips < 10 do
    local id = redis.call('LPOP', lane)
    if not id then return end
    stand_aside(queue, -1)
    take_popped(queue, band, id)
  end
  if redis.call('EXISTS', lane) == 1 then
    redis.call('RPUSH', list_of(queue, band), '@' .. key)
    if band == 1 then stand_aside(queue, -1) end
  end
end

-- Takes what an entry of a band's list stands for: a turn, an id, or an id that a limit has let go.
local function take_entry(queue, band, entry)
  local kind = string.byte(entry)
  -- 64 is @, 33 is !.
  if kind == 64 then return take_turn(queue, band, string.sub(entry, 2)) end
  if band ~= 1 then stand_aside(queue, -1) end
  if kind == 33 then
    take_popped(queue, band, string.sub(entry, 2, 37), string.sub(entry, 38))
  else
    take_popped(queue, band, entry)
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
  elseif string.byte(entry) == 33 then
    entry = string.sub(entry, 2, 37)
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

-- Takes from all bands of a queue, within its limits; whether nothing is left that could be taken.
local function take_bands(queue, enough)
  local since, band, limit = {}, nil, limit_of('queue:' .. queue)
  while taken < enough and bytes < budget and skips > 0 do
    band = next_band(queue, since)
    if band and limit and not has_room(limit) then
      note_barrier(limit)
      return true
    end
    if not band then break end
    local entry = redis.call('LPOP', list_of(queue, band))
    since[band] = nil
    take_entry(queue, band, entry)
  end
  if redis.call('EXISTS', list_of(queue, 0), list_of(queue, 2)) == 0 then
    if not limit then redis.call('DEL', P .. 'special:' .. queue) end
    redis.call('HDEL', P .. 'turns', queue)
    return redis.call('EXISTS', list_of(queue, 1)) == 0
  end
  return false
end

-- Takes from a queue until `enough` are taken; whether nothing is left in it.
local function take_queue(queue, enough)
  local limited, special, list = P .. 'limited', P .. 'special:' .. queue, list_of(queue, 1)
  local is_empty = false
  while taken < enough and bytes < budget and skips > 0 and not is_empty do
    local wanted = math.min(enough - taken, 500)
    local popped = redis.call('LMPOP', 3, limited, special, list, 'LEFT', 'COUNT', wanted)
    if popped and popped[1] ~= list then
      redis.call('RPUSH', popped[1], '1')
      is_limited = true
      return take_bands(queue, enough)
    end
    local entries = popped and popped[2] or {}
    is_empty = #entries < wanted
    local rest = {}
    for _, entry in ipairs(entries) do
      if bytes >= budget then
        rest[#rest + 1] = entry
      else
        take_entry(queue, 1, entry)
        -- A turn may have put another one behind, a limit may have let another one go.
        local kind = string.byte(entry)
        if kind == 64 or kind == 33 then is_empty = false end
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
for scope, limit in pairs(barriers) do
  if limit and limit.is_used then
    redis.call('HSET', P .. 'bucket:' .. scope, 't', string.format('%.9f', limit.tokens), 'a', string.format('%.0f', now))
    -- A bucket that is full again need not be kept.
    redis.call('PEXPIRE', P .. 'bucket:' .. scope, math.ceil((limit.burst - limit.tokens) / limit.per_ms) + 1000)
  end
end
follow_up(50)
write_places()
write_dues(now)
trim_dead(now)
if taken > 0 then expiry = math.min(expiry or math.huge, now + lease_ms) end
if expiry then answer[2] = math.max(0, expiry - now) end
return answer

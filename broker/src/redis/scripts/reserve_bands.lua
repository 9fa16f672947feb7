-- The part of `reserve.lua` that plain invocations do not need: leases that have run out, limits, bands, and the turns of
-- keys. What it uses of `reserve.lua` is declared in `reserve_head.lua`; the last of what `rest_open.lua` opens.

local function requeue(id, record)
  redis.call('HSET', P .. 'i:' .. id, 's', 'q' .. record.token)
  place(record.q, id, record.more, true)
  local verdict, ends = verdict_on(record.t, record.attempt)
  if verdict or ends then due(id, ends or now) end
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

-- What else a host has to know of an invocation that was taken before or has times.
local function history(key, times)
  local more = redis.call('HMGET', key, 'c', 'n', 'a')
  local deadline = times and string.match(times, ' (%d+)$') or '0'
  return (more[1] or '0') .. ' ' .. deadline .. ' ' .. (more[2] or '0') .. '\n' .. (more[3] or '')
end

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
    if not limit then
      redis.call('DEL', P .. 'special:' .. queue)
      -- What this very call puts there later is marked again.
      marked[queue] = nil
    end
    redis.call('HDEL', P .. 'turns', queue)
    return redis.call('EXISTS', list_of(queue, 1)) == 0
  end
  return false
end

made = {
  count_in = count_in, due = due, finish = finish, follow_up = follow_up, free_when_taken = free_when_taken,
  history = history, limits_on = limits_on, read = read, reap = reap, take_bands = take_bands, take_entry = take_entry,
  trim_dead = trim_dead, verdict_on = verdict_on, undue = undue, write_dues = write_dues, write_places = write_places,
}
return made
end

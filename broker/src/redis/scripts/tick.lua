-- Does what has fallen due: queues what is scheduled, ends what has not started in time or is past its deadline, goes on
-- telling those who wait for ends where another script had to leave off, and checks what waits for others now and then.
-- `due.lua`, `place.lua`, `ended.lua`, `finish.lua` and `follow.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 head of an expired outcome, 2 retention (see `dead.lua`), 3 reply stream TTL ms, 4 reply stream cap in entries,
--          5 head of an outcome past its deadline, 6 ticker, 7 ms of a term, 8 most invocations
-- Returns  ms until the next one is due, -1 when there is none; ms until this ticker may take over, 0 when it leads;
--          for the one that leads, the names of schedules that are due, at most 20.
--          Every host has a ticker. The one that leads comes when something is due, the others when its term is over,
--          so that hosts do not all come for each invocation, and one that dies delays by a term at most.
-- Entries of `due` that begin with @ are scopes whose rate allows more now, with ~ scopes to be checked: see `limits.lua`.
-- Writes   due, scheduled, ticker, i:<id>, what `place.lua` writes; for what it ends: stale, uses, e:<id>, reply:<client>;
--          ends and what `follow.lua` writes.
-- Order    ZREM first: under memory pressure (OOM) the first write of a script decides, and it is always let through.

local ids = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, ARGV[8])
if #ids > 0 then redis.call('ZREM', P .. 'due', unpack(ids)) end

local function make_ready(id, record)
  redis.call('HSET', P .. 'i:' .. id, 's', 'q' .. record.token)
  scheduled(record.q, -1)
  place(record.q, id, record.more, false)
end

for _, entry in ipairs(redis.call('LPOP', P .. 'ends', 50) or {}) do
  local letter, id, rest = string.sub(entry, 1, 1), string.sub(entry, 2, 37), string.sub(entry, 38)
  if letter == '-' then
    freed[#freed + 1] = {id, tonumber(rest)}
  elseif letter == 'x' then
    felled[#felled + 1] = {id, tonumber(rest)}
  else
    notes[#notes + 1] = {id, letter, rest}
  end
end
-- Counts anew how many parents an invocation waits for, in case something went missing. While ends are being told, also
-- those of this very tick, the count must stay as it is: those who are about to be told would be counted twice.
local checks = 2000
local function sweep(id, record, ends)
  local is_told = #notes + #freed + #felled == 0
  local parents = is_told and checks > 0 and parents_of(id) or nil
  local again = now + (parents and 600000 or 1000)
  if parents then
    checks = checks - #parents
    local pending = 0
    for _, parent in ipairs(parents) do
      local key = P .. 'i:' .. parent.id
      local state = redis.call('HGET', key, 's')
      local letter = string.sub(state or 'q', 1, 1)
      if not state and redis.call('EXISTS', key) == 0 then return end_unmet(id, record, parent.id, nil) end
      local wanted = string.sub(parent.on or 'success', 1, 1)
      if not CAME_TO[letter] then
        pending = pending + 1
      elseif not is_met(wanted, letter) then
        return end_unmet(id, record, parent.id, letter)
      end
    end
    if pending == 0 then return unblock(id, record) end
    redis.call('HSET', P .. 'i:' .. id, 'k', pending)
  end
  due(id, math.min(again, ends or again))
end

-- Those that count against a limit and have no lease any more, which only a fault of the server can bring about.
local function reconcile(scope)
  local set = P .. 'held:' .. scope
  for _, id in ipairs(redis.call('SRANDMEMBER', set, 100)) do
    if not redis.call('ZSCORE', P .. 'leases', id) then redis.call('SREM', set, id) end
  end
  local is_more = let_some_go(scope)
  if redis.call('EXISTS', P .. 'parked:' .. scope) == 1 then due('~' .. scope, now + (is_more and 1000 or 60000)) end
end

for _, id in ipairs(ids) do
  -- 64 is @, 126 is ~: no invocation, but a scope.
  local kind, record = string.byte(id), nil
  if kind == 64 then
    go_on(string.sub(id, 2))
  elseif kind == 126 then
    reconcile(string.sub(id, 2))
  else
    record = read(id)
  end
  if record and (record.state == 'b' or record.state == 'q' or record.state == 'w') then
    local verdict, ends = verdict_on(record.t, record.attempt)
    if verdict then
      if record.state == 'q' then redis.call('HINCRBY', P .. 'stale', record.q, 1) end
      finish(id, verdict, verdict == 'e' and ARGV[1] or ARGV[5], record)
    else
      local starts = record.state == 'w' and tonumber(record.n) or 0
      if record.state == 'b' then
        sweep(id, record, ends)
      elseif starts > now then
        due(id, math.min(starts, ends or starts))
      else
        if record.state == 'w' then make_ready(id, record) end
        if ends then due(id, ends) end
      end
    end
  end
end
follow_up(250)
write_places()
write_dues(now)
trim_dead(now)

local next_due = tonumber(redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2])
if redis.call('EXISTS', P .. 'ends') == 1 then next_due = now end
local leader, turn = redis.call('GET', P .. 'ticker'), 0
if leader and leader ~= ARGV[6] then
  turn = math.max(1, redis.call('PTTL', P .. 'ticker'))
else
  redis.call('SET', P .. 'ticker', ARGV[6], 'PX', ARGV[7])
end
local next_fire = tonumber(redis.call('ZRANGE', P .. 'schedules', 0, 0, 'WITHSCORES')[2])
if next_fire and next_fire < math.huge then next_due = math.min(next_due or next_fire, next_fire) end
local names = {}
if turn == 0 and next_fire and next_fire <= now then
  names = redis.call('ZRANGEBYSCORE', P .. 'schedules', '-inf', now, 'LIMIT', 0, 20)
end
return {next_due and math.max(0, next_due - now) or -1, turn, names}

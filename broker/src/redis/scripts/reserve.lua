-- Gives leases that have run out back to their queues, then takes and leases up to n invocations.
-- `rest_open.lua`, `dead.lua`, `due.lua`, `place.lua`, `limits.lua`, `ended.lua`, `finish.lua`, `follow.lua` and
-- `reserve_bands.lua` stand in front of it.
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

-- False when the id stands in the list of this queue for nothing; when there is no room for it, the limit and field m.
function take(id, queue)
  local key = P .. 'i:' .. id
  local record = redis.pcall('HMGET', key, 's', 'h', 'i', 'd', 't', 'm')
  local state, times, extra = record[1], record[5], ''
  -- No state means queued as submitted, 113 is q, queued again; no header means no record.
  if record.err or not record[2] or (state and string.byte(state) ~= 113) then return false end
  -- What was moved to another queue leaves its id behind: `<ms> <queue> <JSON>` names that one. Times have 13 digits until 2286.
  if string.find(record[2], ' ' .. queue .. ' ', 14, true) ~= 14 and string.match(record[2], '^%d+ (%S+) ') ~= queue then
    return false
  end
  local token, attempt = host .. '.1.1', 0
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
    found, barrier = rest().limits_on(record[2], more)
  end
  if times then
    local verdict = rest().verdict_on(times, attempt)
    if verdict then
      rest().finish(id, verdict, verdict == 'e' and ARGV[11] or ARGV[12], rest().read(id))
      skips = skips - 1
      return true
    end
    if not barrier then
      redis.call('ZREM', P .. 'due', id)
      -- Its lease ran out, which has been noticed in this very call.
      rest().undue(id)
    end
  end
  if barrier then return barrier, more end
  if times or state then extra = rest().history(key, times) end
  local scopes = found and #found > 0 and rest().count_in(id, found) or ''
  if scopes == '' then
    redis.call('HSET', key, 's', 'r' .. token)
  else
    redis.call('HSET', key, 's', 'r' .. token, 'g', scopes)
  end
  if record[6] then rest().free_when_taken(id, record[6]) end
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

-- When the first lease runs out, or nil.
local function first_expiry()
  return tonumber(redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2])
end

local expiry = first_expiry()
if expiry and expiry <= now then
  rest().reap()
  expiry = first_expiry()
end

-- Takes from a queue until `enough` are taken; whether nothing is left in it.
local function take_queue(queue, enough)
  local limited, special, list = P .. 'limited', P .. 'special:' .. queue, P .. 'q:' .. queue .. ':1'
  local is_empty = false
  while taken < enough and bytes < budget and skips > 0 and not is_empty do
    local wanted = math.min(enough - taken, 500)
    local popped = redis.call('LMPOP', 3, limited, special, list, 'LEFT', 'COUNT', wanted)
    if popped and popped[1] ~= list then
      redis.call('RPUSH', popped[1], '1')
      is_limited = true
      return rest().take_bands(queue, enough)
    end
    local entries = popped and popped[2] or {}
    is_empty = #entries < wanted
    local left = {}
    for _, entry in ipairs(entries) do
      if bytes >= budget then
        left[#left + 1] = entry
      else
        -- 64 is @, 33 is !: a turn may have put another one behind, a limit may have let another one go.
        local kind = string.byte(entry)
        if kind == 64 or kind == 33 then is_empty = false end
        if kind == 64 or kind == 33 or is_limited then
          rest().take_entry(queue, 1, entry)
        elseif not take(entry, queue) then
          stales[queue] = (stales[queue] or 0) + 1
          skips = skips - 1
        end
      end
    end
    if #left > 0 then
      is_empty = false
      for index = #left, 1, -1 do redis.call('LPUSH', list, left[index]) end
    end
  end
  return is_empty or redis.call('EXISTS', list, special) == 0
end

-- The queues that nothing is taken from now: all of them, when this host is paused.
local is_paused = {}
local names = {'host:' .. host}
for argument = 15, #ARGV, 2 do names[#names + 1] = 'queue:' .. ARGV[argument] end
local since = redis.call('HMGET', P .. 'paused', unpack(names))
for index = 2, #names do
  if since[1] or since[index] then
    local queue = string.sub(names[index], 7)
    is_paused[queue] = true
    answer[4] = answer[4] .. (answer[4] == '' and '' or ' ') .. queue
  end
end

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
if made then
  made.follow_up(50)
  made.write_places()
  made.write_dues(now)
  made.trim_dead(now)
end
if taken > 0 then expiry = math.min(expiry or math.huge, now + lease_ms) end
if expiry then answer[2] = math.max(0, expiry - now) end
return answer

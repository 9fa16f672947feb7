-- Ends attempts, each under its token: with its outcome, of which whoever waits is told, or by scheduling the next
-- attempt. The hot path. `rest_open.lua`, `dead.lua`, `due.lua`, `place.lua`, `limits.lua`, `ended.lua`, `finish.lua`,
-- `follow.lua` and `settle_rest.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 retention (see `dead.lua`), 2 reply stream TTL ms, 3 reply stream cap in entries; then for each settlement, at most 500:
--            id, token, state letter (s, f or c), result: head JSON and, behind a line feed, an output that is small enough
--            to be pushed; 1 when the result is pushed, 0 when waiters must read it; output that is not in the result, or of a
--            failure what it can be run again with, or ''.
--          To schedule the next attempt, the state is w with the ms to wait, the last argument is the whole trail as JSON,
--          and the result is what the invocation fails with if somebody has asked to cancel it.
-- Returns  the numbers (from 1) of settlements whose lease was no longer held. A repeated settlement counts as written.
-- Writes   i:<id>, leases, due, scheduled, dead, uses, e:<id> (expiry), reply:<client>: one entry carries many outcomes:
--            <id> <result> each; the result is '' where it is to be read from the store; for those who wait for it: see `follow.lua`.
-- Order    reads all, then removes leases, then writes: under memory pressure (OOM) the first write of a script decides,
--          and ZREM is always let through, so that finished work can be written down.

local stale, held, records, seen = {}, {}, {}, {}

for at = 4, #ARGV, 6 do
  local id, token = ARGV[at], ARGV[at + 1]
  if not seen[id] then
    local record = redis.pcall('HMGET', P .. 'i:' .. id, 's', 'd', 'w', 'l', 'e', 'm', 'b', 'j', 'u', 'y', 'g')
    local state = record[1]
    if state == 'r' .. token then
      seen[id] = token
      held[#held + 1] = id
      records[at] = record
    elseif not state or string.sub(state, 2) ~= token or string.byte(state) == 113 then
      -- Not this token, or (113 is q) this token before its lease ran out.
      stale[#stale + 1] = (at - 4) / 6 + 1
    end
  elseif seen[id] ~= token then
    stale[#stale + 1] = (at - 4) / 6 + 1
  end
end
if #held == 0 then return stale end
redis.call('ZREM', P .. 'leases', unpack(held))
for at, record in pairs(records) do
  if record[11] then rest().give_back(ARGV[at], record[11]) end
end

local uses, entries, usual_ttl = {}, {}, string.match(retention, '^%d+')

local function flush(client, entry)
  local stream = P .. 'reply:' .. client
  if redis.call('XLEN', stream) >= reply_cap then
    -- Nobody reads this stream: one mark that says "check everything" takes the place of all of it.
    redis.call('XTRIM', stream, 'MAXLEN', 0)
    redis.call('XADD', stream, '*', 'gap', '')
  else
    redis.call('XADD', stream, '*', unpack(entry))
  end
end

local function tell(client, id, result)
  local entry = entries[client]
  if not entry then
    entry = {bytes = 0}
    entries[client] = entry
  elseif entry.bytes > 16384 or #entry >= 400 then
    flush(client, entry)
    entry = {bytes = 0}
    entries[client] = entry
  end
  local last = #entry
  entry[last + 1], entry[last + 2] = id, result
  entry.bytes = entry.bytes + #result
end

-- Whether the next attempt is scheduled: not when somebody wants the invocation cancelled.
local function retry(id, key, token, wait, trail)
  local record = redis.call('HMGET', key, 'x', 't', 'h')
  local queue = string.match(record[3] or '', '^%d+ (%S+) ')
  if record[1] or not queue then return false end
  local starts, deadline = rest().clock() + tonumber(wait), tonumber(string.match(record[2] or '', ' (%d+)$') or 0)
  redis.call('HSET', key, 's', 'w' .. token, 'n', string.format('%.0f', starts), 'a', trail)
  rest().due(id, deadline > 0 and math.min(starts, deadline) or starts)
  rest().scheduled(queue, 1)
  return true
end

for at = 4, #ARGV, 6 do
  local record, key, letter, output = records[at], P .. 'i:' .. ARGV[at], ARGV[at + 2], ARGV[at + 5]
  -- 119 is w.
  if record and string.byte(letter) == 119 then
    if retry(ARGV[at], key, ARGV[at + 1], string.sub(letter, 2), output) then
      record = nil
    else
      letter, output = 'f', ''
    end
  end
  if record then
    local id, state, result = ARGV[at], letter .. ARGV[at + 1], ARGV[at + 3]
    if letter ~= 's' then
      redis.call('HSET', key, 's', state, 'r', result)
      if output ~= '' and rest().dead_cap > 0 then redis.call('HSET', key, 'z', output) end
    elseif output == '' then
      -- The input is needed no more; a failure keeps it.
      redis.call('HSET', key, 's', state, 'r', result, 'i', '')
    else
      redis.call('HSET', key, 's', state, 'r', result, 'i', '', 'o', output)
    end
    local ttl = record[4] or usual_ttl
    -- 102 is f.
    if string.byte(letter) == 102 then
      ttl = rest().bury(id, ttl, rest().clock())
    end
    redis.call('PEXPIRE', key, ttl)
    if record[5] then redis.call('PEXPIRE', P .. 'e:' .. id, ttl) end
    local digest, waiters = record[2], record[3]
    if digest then uses[digest] = (uses[digest] or 0) + 1 end
    if waiters then
      local pushed = ARGV[at + 4] == '1' and result or ''
      if string.find(waiters, ' ', 1, true) then
        for client in string.gmatch(waiters, '%S+') do tell(client, id, pushed) end
      else
        tell(waiters, id, pushed)
      end
    end
    if record[6] or record[7] or record[8] or record[10] then
      local is_read, more = pcall(cjson.decode, record[6] or '')
      local what = {d = digest, w = waiters, l = record[4], e = record[5], b = record[7], j = record[8], u = record[9],
        y = record[10], m = record[6]}
      what.more = is_read and more or nil
      rest().ended(id, letter, what)
    end
  end
end

for client, entry in pairs(entries) do
  flush(client, entry)
  redis.call('PEXPIRE', P .. 'reply:' .. client, reply_ttl)
end
for digest, fewer in pairs(uses) do
  if redis.call('HINCRBY', P .. 'uses', digest, -fewer) <= 0 then
    redis.call('HDEL', P .. 'uses', digest)
  end
end
if made then
  made.follow_up(200)
  made.write_places()
  if now then
    made.write_dues(now)
    made.trim_dead(now)
  end
end
return stale

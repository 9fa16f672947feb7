-- Ends attempts with their outcomes, each under its token, and tells whoever waits. The hot path.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 result TTL ms, 2 reply stream TTL ms, 3 reply stream cap in entries; then for each settlement, at most 500:
--            id, token, state letter (s, f or c), result: head JSON and, behind a line feed, an output that is small enough
--            to be pushed; 1 when the result is pushed, 0 when waiters must read it; output that is not in the result, or ''
-- Returns  the numbers (from 1) of settlements whose lease was no longer held. A repeated settlement counts as written.
-- Writes   i:<id>, leases, uses, e:<id> (expiry), reply:<client>: one entry carries many outcomes:
--            <id> <result> each; the result is '' where it is to be read from the store.
-- Order    reads all, then removes leases, then writes: under memory pressure (OOM) the first write of a script decides,
--          and ZREM is always let through, so that finished work can be written down.

local P = KEYS[1]
local result_ttl, reply_ttl, reply_cap = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stale, held, records, seen = {}, {}, {}, {}

for at = 4, #ARGV, 6 do
  local id, token = ARGV[at], ARGV[at + 1]
  if not seen[id] then
    local record = redis.pcall('HMGET', P .. 'i:' .. id, 's', 'd', 'w', 'l', 'e')
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

local uses, entries = {}, {}

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

for at = 4, #ARGV, 6 do
  local record = records[at]
  if record then
    local id, state, result, output = ARGV[at], ARGV[at + 2] .. ARGV[at + 1], ARGV[at + 3], ARGV[at + 5]
    local key = P .. 'i:' .. id
    if ARGV[at + 2] ~= 's' then
      redis.call('HSET', key, 's', state, 'r', result)
    elseif output == '' then
      -- The input is needed no more; a failure keeps it.
      redis.call('HSET', key, 's', state, 'r', result, 'i', '')
    else
      redis.call('HSET', key, 's', state, 'r', result, 'i', '', 'o', output)
    end
    local ttl = record[4] or result_ttl
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
return stale

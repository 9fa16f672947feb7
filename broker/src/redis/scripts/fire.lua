end
-- Fires a schedule: checks that the time which is fired for still stands, submits, and writes the next time. Of many that
-- fire, one does; and since an id follows from its schedule and its time, no time is submitted twice.
-- All that stands in front of `submit.lua` stands in front of it, then `fire_open.lua` and `submit.lua`.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 to 3 as `submit.lua`, 4 name, 5 revision, 6 its next time as it was read ('' = none), 7 its next time from now
--          on ('' = never), 8 overlap policy: a allow, s skip, q queue one; m somebody asked for it: then 6 and 7 count for
--          nothing, 9 how many of the times, from the first on, wait for an earlier run where others are left out, 10 how
--          many of them at most, 11 number of times, at most 200; then each time in ms; then the other arguments of
--          `submit.lua` for one target and as many invocations; for the first time alone where one run starts at most (s, q)
-- Returns  a list: '' when it has been changed or fired meanwhile, else a letter for each time: f fired, m fired by hand, o
--          left out, w waits, n no such module, t no such task, x refused; behind it what `submit.lua` returns
-- Writes   s:<name>, sr:<name> (20 runs are kept), su:<name>, schedules; and what `submit.lua` writes.

local name, overlap, count = ARGV[4], ARGV[8], tonumber(ARGV[11])
local patient, most_wait = tonumber(ARGV[9]), tonumber(ARGV[10])
local key, runs, unfinished = P .. 's:' .. name, P .. 'sr:' .. name, P .. 'su:' .. name
local record = redis.call('HMGET', key, 'v', 'next', 'paused')
if record[1] ~= ARGV[5] then return {''} end
if overlap ~= 'm' and (record[3] or (record[2] or '') ~= ARGV[6]) then return {''} end

local function is_unfinished(id)
  local invocation = redis.call('HMGET', P .. 'i:' .. id, 'h', 's')
  return invocation[1] and not string.find(invocation[2] or 'q', '^[sfce]')
end

-- Whether an earlier run has not ended. Each leaves the set when it ends, so the first one that is looked at tells. What is
-- there and has ended all the same, which only a fault of the server can bring about, goes now; what is left goes next time.
local function is_busy()
  for _ = 1, 100 do
    local id = redis.call('SRANDMEMBER', unfinished)
    if not id then return false end
    if is_unfinished(id) then return true end
    redis.call('SREM', unfinished, id)
  end
  return true
end

local is_alone = overlap == 's' or overlap == 'q'
local busy = is_alone and is_busy()
if overlap ~= 'm' then redis.call('HDEL', key, 'next', 'waits') end

-- The target has five arguments with their number, then come the invocations, nine for each.
local first = 12 + count
local function id_of(index) return ARGV[first + 5 + (index - 1) * 9] end

local letters, refused, done = {}, {}, 0
if count > 0 and not busy then
  refused = submit({ARGV[1], ARGV[2], ARGV[3], unpack(ARGV, first)})
  done = is_alone and 1 or count
  for index = 1, done do letters[index] = overlap == 'm' and 'm' or 'f' end
  for at = 1, #refused, 2 do
    letters[refused[at]] = ({'n', 't'})[refused[at + 1]] or 'x'
  end
  -- What refuses the first refuses those behind it: no run is there whose end they could wait for.
  if #refused > 0 then
    for index = done + 1, count do letters[index], done = letters[1], index end
  end
end

local waits = {}
for index = done + 1, count do
  if (index <= patient and #waits < most_wait) or (overlap == 'q' and #waits == 0) then
    letters[index] = 'w'
    waits[#waits + 1] = ARGV[11 + index]
  else
    letters[index] = 'o'
  end
end

if overlap ~= 'm' then
  if ARGV[7] ~= '' then redis.call('HSET', key, 'next', ARGV[7]) end
  if #waits > 0 then redis.call('HSET', key, 'waits', table.concat(waits, ' ')) end
  redis.call('ZADD', P .. 'schedules', ARGV[7] ~= '' and ARGV[7] or '+inf', name)
end

for index = 1, count do
  local letter, id = letters[index], '-'
  if letter == 'f' or letter == 'm' then
    id = id_of(index)
    if is_unfinished(id) then redis.call('SADD', unfinished, id) end
  end
  if letter ~= 'w' then
    redis.call('LPUSH', runs, ARGV[11 + index] .. ' ' .. letter .. ' ' .. id)
  end
end
redis.call('LTRIM', runs, 0, 19)
return {table.concat(letters), unpack(refused)}

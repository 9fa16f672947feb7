end
-- Fires a schedule: checks that the time which is fired for still stands, submits, and writes the next time. Of many that
-- fire, one does; and since an id follows from its schedule and its time, no time is submitted twice.
-- All that stands in front of `submit.lua` stands in front of it, then `fire_open.lua` and `submit.lua`.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 to 3 as `submit.lua`, 4 name, 5 revision, 6 its next time as it was read ('' = none), 7 its next time from now
--          on ('' = never), 8 overlap policy: a allow, s skip, q queue one; m somebody asked for it: then 6 and 7 count for
--          nothing, 9 number of times, at most 101; then each time in ms; then the other arguments of `submit.lua` for one
--          target and as many invocations
-- Returns  '' when it has been changed or fired meanwhile; else a letter for each time: f fired, m fired by hand, o left out,
--          w waits, n no such module, t no such task, x refused; where somebody asked for it, x is followed by why, as
--          `submit.lua` says it
-- Writes   s:<name>, sr:<name> (20 runs are kept), schedules; and what `submit.lua` writes.

local name, overlap, count = ARGV[4], ARGV[8], tonumber(ARGV[9])
local key, runs = P .. 's:' .. name, P .. 'sr:' .. name
local record = redis.call('HMGET', key, 'v', 'next', 'paused')
if record[1] ~= ARGV[5] then return '' end
if overlap ~= 'm' and (record[3] or (record[2] or '') ~= ARGV[6]) then return '' end

-- Whether an earlier run has not ended.
local function is_busy()
  for _, run in ipairs(redis.call('LRANGE', runs, 0, -1)) do
    local id = string.match(run, ' [fm] (%S+)$')
    local invocation = id and redis.call('HMGET', P .. 'i:' .. id, 'h', 's')
    if invocation and invocation[1] and not string.find(invocation[2] or 'q', '^[sfce]') then return true end
  end
  return false
end

local busy = (overlap == 's' or overlap == 'q') and is_busy()
local letters, chosen, waits, why = {}, {}, nil, ''
for index = 1, count do
  if overlap == 'a' or overlap == 'm' or not busy then
    letters[index] = overlap == 'm' and 'm' or 'f'
    chosen[#chosen + 1] = index
    busy = true
  elseif overlap == 'q' and not waits then
    letters[index], waits = 'w', ARGV[9 + index]
  else
    letters[index] = 'o'
  end
end

if overlap ~= 'm' then
  redis.call('HDEL', key, 'next', 'waits')
  if ARGV[7] ~= '' then redis.call('HSET', key, 'next', ARGV[7]) end
  if waits then redis.call('HSET', key, 'waits', waits) end
  redis.call('ZADD', P .. 'schedules', ARGV[7] ~= '' and ARGV[7] or '+inf', name)
end

-- Arguments of the target, then of each invocation.
local first = 10 + count
local width = (#ARGV - first - 4) / math.max(count, 1)
local function id_of(index) return ARGV[first + 5 + (index - 1) * width] end

if #chosen > 0 then
  local arguments = {ARGV[1], ARGV[2], ARGV[3], unpack(ARGV, first, first + 4)}
  for _, index in ipairs(chosen) do
    for at = first + 5 + (index - 1) * width, first + 4 + index * width do arguments[#arguments + 1] = ARGV[at] end
  end
  local refused = submit(arguments)
  for at = 1, #refused, 2 do
    local reason = refused[at + 1]
    letters[chosen[refused[at]]] = ({'n', 't'})[reason] or 'x'
    if overlap == 'm' and type(reason) == 'string' then why = reason end
  end
end
for index = 1, count do
  local letter = letters[index]
  if letter ~= 'w' then
    local id = (letter == 'f' or letter == 'm') and id_of(index) or '-'
    redis.call('LPUSH', runs, ARGV[9 + index] .. ' ' .. letter .. ' ' .. id)
  end
end
redis.call('LTRIM', runs, 0, 19)
return table.concat(letters) .. why

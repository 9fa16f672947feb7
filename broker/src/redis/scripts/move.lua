-- Moves invocations from one queue to another: those that wait in its lists, in order, or these.
-- `prefix.lua`, `due.lua`, `place.lua` and `limits.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 from, 2 to, 3 `first`: 4 most entries of the lists, then scopes of limits, at most 500, what waits for which in
--          this queue goes first; or 3 `these`: 4 1 = also what runs, then ids, at most 500
-- Returns  how many were moved; how many entries were looked at: fewer than asked for means that the lists are empty
-- Writes   i:<id> (h), queues, scheduled, blocked, stale, parked:<scope>, and what `place.lua` writes, for both queues; when the
--          lists are empty: special:<queue>, turns.
-- What is taken out of the middle of a list stays in it as an id that stands there for nothing: reserve passes over ids whose
-- records name another queue, and `stale` counts them, as with what was cancelled. What runs goes on, and comes back to the
-- queue that its record names. Times in `due`, keys and counts of limits stay: they go by id, task and key.

local from, to = ARGV[1], ARGV[2]
local moved, seen, stale = 0, 0, 0

-- The record of what is in the first queue, or nil.
local function read(id)
  local record = redis.pcall('HMGET', P .. 'i:' .. id, 'h', 's', 'm')
  if record.err or not record[1] then return nil end
  local at, queue, header = string.match(record[1], '^(%d+) (%S+) (.*)$')
  if queue ~= from then return nil end
  local is_read, more = pcall(cjson.decode, record[3] or '')
  return {at = at, header = header, letter = string.sub(record[2] or 'q', 1, 1), more = is_read and more or nil}
end

-- Has the record name the other queue.
local function rename(id, record)
  redis.call('HSET', P .. 'i:' .. id, 'h', record.at .. ' ' .. to .. ' ' .. record.header)
  moved = moved + 1
end

-- Puts an id that was popped at the end of the other queue, unless it stood in its list for nothing.
local function move_popped(id)
  seen = seen + 1
  local record = read(id)
  if record and record.letter == 'q' then
    rename(id, record)
    place(to, id, record.more, false)
  else
    stale = stale - 1
  end
end

-- The turn of a key, which was popped: moves what waits in its lane, as far as it goes.
local function move_lane(band, turn, most)
  local lane = list_of(from, band, string.sub(turn, 2))
  if band == 1 then stand_aside(from, 1) end
  for _, id in ipairs(redis.call('LPOP', lane, most - seen) or {}) do
    stand_aside(from, -1)
    move_popped(id)
  end
  if redis.call('EXISTS', lane) == 1 then
    redis.call('LPUSH', list_of(from, band), turn)
    if band == 1 then stand_aside(from, -1) end
  end
end

-- Moves a band from its head; with `is_let_go`, only as far as limits have let go what stands there.
local function move_band(band, most, is_let_go)
  local list = list_of(from, band)
  while seen < most do
    local entry = redis.call('LPOP', list)
    if not entry then return end
    -- 64 is @: the turn of a key; 33 is !: a limit has let it go, and lets go the next one.
    local kind = string.byte(entry)
    if is_let_go and kind ~= 33 then
      redis.call('LPUSH', list, entry)
      return
    elseif kind == 64 then
      move_lane(band, entry, most)
    else
      if band ~= 1 then stand_aside(from, -1) end
      move_popped(kind == 33 and string.sub(entry, 2, 37) or entry)
      if kind == 33 then let_one_go(from, band, string.sub(entry, 38)) end
    end
  end
end

local function move_first(most)
  for band = 0, 2 do move_band(band, most, true) end
  for at = 5, #ARGV do
    local parked, is_any = P .. 'parked:' .. ARGV[at], false
    if redis.call('SISMEMBER', parked, from) == 1 then
      for band = 0, 2 do is_any = let_one_go(from, band, ARGV[at]) or is_any end
      if not is_any then redis.call('SREM', parked, from) end
    end
  end
  for band = 0, 2 do move_band(band, most, false) end
  if redis.call('EXISTS', list_of(from, 0), list_of(from, 2)) == 0 then
    if redis.call('HEXISTS', P .. 'limits', 'queue:' .. from) == 0 then
      redis.call('DEL', P .. 'special:' .. from)
      marked[from] = nil
    end
    redis.call('HDEL', P .. 'turns', from)
  end
end

local function move_one(id)
  local record = read(id)
  if not record then return end
  seen = seen + 1
  local letter = record.letter
  if letter == 'q' then
    stale = stale + 1
    place(to, id, record.more, false)
  elseif letter == 'w' then
    scheduled(from, -1)
    scheduled(to, 1)
  elseif letter == 'b' then
    count_blocked(from, -1)
    count_blocked(to, 1)
  elseif letter ~= 'r' or ARGV[4] ~= '1' then
    return
  end
  rename(id, record)
end

if ARGV[3] == 'first' then
  move_first(tonumber(ARGV[4]))
else
  for at = 5, #ARGV do move_one(ARGV[at]) end
end
if moved > 0 then redis.call('SADD', P .. 'queues', to) end
if stale ~= 0 and redis.call('HINCRBY', P .. 'stale', from, stale) <= 0 then redis.call('HDEL', P .. 'stale', from) end
write_places()
write_dues(0)
return {moved, seen}

-- Shared by release, reserve, submit and tick: the one way into the ready lists, and what stands in them.
-- Prepended to those scripts.
--
-- Expects before it is called: P (key prefix).
-- A queue has one list for each band: q:<queue>:<band>, 0 high, 1 normal, 2 low. An entry is an id, or `@<key>`: the
-- turn of a fairness key, whose ids stand in q:<queue>:<band> @<key>. A key has one turn as long as it has ids.
-- special:<queue> is a list with the entry 1 while anything waits in a band other than the normal one: a reserve that
-- pops from it and the normal list at once learns of it without asking.
-- aside: queue -> ids that do not stand in q:<queue>:1 themselves, less the turns that do.
--
-- place(queue, id, more, in_front): `more` is the record's field m, decoded, or nil. What goes in front stands there
-- at once; what goes to the end is noted, and stands there, in order, when write_places() has been called.
-- Writes   q:<queue>:<band>, wake:<queue>; where there is a band or a key: q:<queue>:<band> @<key>, special:<queue>, aside.

local places, asides, marked = {}, {}, {}

local function list_of(queue, band, key)
  local list = P .. 'q:' .. queue .. ':' .. band
  return key and list .. ' @' .. key or list
end

local function stand_aside(queue, more)
  asides[queue] = (asides[queue] or 0) + more
end

-- Has the next reserve look at every band.
local function mark(queue)
  if not marked[queue] and redis.call('EXISTS', P .. 'special:' .. queue) == 0 then
    redis.call('RPUSH', P .. 'special:' .. queue, '1')
  end
  marked[queue] = true
end

-- Puts an entry of its band's list where it belongs.
local function enter(queue, band, entry, in_front)
  if band ~= 1 then mark(queue) end
  if in_front then
    redis.call('LPUSH', list_of(queue, band), entry)
    redis.call('ZADD', P .. 'wake:' .. queue, 0, '0')
    return
  end
  local bands = places[queue]
  if not bands then
    bands = {}
    places[queue] = bands
  end
  local entries = bands[band]
  if not entries then
    entries = {}
    bands[band] = entries
  end
  entries[#entries + 1] = entry
end

local function place(queue, id, more, in_front)
  local band, key = more and more.band or 1, more and more.fair
  if not key then
    enter(queue, band, id, in_front)
    if band ~= 1 then stand_aside(queue, 1) end
    return
  end
  local waiting = redis.call(in_front and 'LPUSH' or 'RPUSH', list_of(queue, band, key), id)
  stand_aside(queue, 1)
  if waiting == 1 then
    enter(queue, band, '@' .. key, in_front)
    if band == 1 then stand_aside(queue, -1) end
  elseif in_front then
    redis.call('ZADD', P .. 'wake:' .. queue, 0, '0')
  else
    places[queue] = places[queue] or {}
  end
end

-- Writes what was noted: at most 500 entries, as many as one script takes.
local function write_places()
  for queue, bands in pairs(places) do
    for band, entries in pairs(bands) do
      redis.call('RPUSH', list_of(queue, band), unpack(entries))
    end
    redis.call('ZADD', P .. 'wake:' .. queue, 0, '0')
  end
  for queue, more in pairs(asides) do
    if more ~= 0 and redis.call('HINCRBY', P .. 'aside', queue, more) == 0 then
      redis.call('HDEL', P .. 'aside', queue)
    end
  end
  places, asides = {}, {}
end


-- Shared by release, reserve, submit and tick: the one way into a ready list. Prepended to those scripts.
--
-- Expects before it is called: P (key prefix).
-- place(queue, id, more, in_front): `more` is the record's field m, decoded, or nil. What goes in front stands there
-- at once; what goes to the end is noted, and stands there, in order, when write_places() has been called.
-- Writes   q:<queue>:1, wake:<queue>.

local places = {}

local function place(queue, id, more, in_front)
  if in_front then
    redis.call('LPUSH', P .. 'q:' .. queue .. ':1', id)
    redis.call('ZADD', P .. 'wake:' .. queue, 0, '0')
    return
  end
  local ids = places[queue]
  if not ids then
    ids = {}
    places[queue] = ids
  end
  ids[#ids + 1] = id
end

-- Writes what was noted: at most 500, as many as one script takes.
local function write_places()
  for queue, ids in pairs(places) do
    redis.call('RPUSH', P .. 'q:' .. queue .. ':1', unpack(ids))
    redis.call('ZADD', P .. 'wake:' .. queue, 0, '0')
  end
end


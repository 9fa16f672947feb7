-- Shared by settle and finish, in front of which it stands: notes what follows from the end of an invocation, beside its
-- outcome. `follow.lua` does it.
--
-- Expects before it is called: P (key prefix), now (ms; nil until somebody asked for it, see clock).
-- ended(id, letter, record): the invocation has just been written as ended, with s, f, c or e. It is called for those with
-- field m (what the invocation uses beyond the plain), b (others wait for it), j (it has waited for others) or y (it has
-- called others) alone: plain ones cost nothing more. `record` has at least the fields b, d, e, j, l, m, u, w and y by name,
-- and `more`: field m, decoded, or nil.

-- Redis' time in ms: asked for once, and only by those who need it.
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return now
end

-- A time of this schedule may wait for its run that has ended: then the tickers look at it.
local function free_schedule(name, id)
  redis.call('SREM', P .. 'su:' .. name, id)
  if redis.call('HEXISTS', P .. 's:' .. name, 'waits') == 1 then
    redis.call('ZADD', P .. 'schedules', 'XX', 'LT', clock(), name)
    redis.call('PUBLISH', P .. 'due', 0)
  end
end

-- Ends that others wait for: id, letter, edges. Ends of what has waited: id, number of the first parent to let go of.
-- Invocations whose own calls are to be cancelled too: id, number of the first one.
local notes, freed, felled = {}, {}, {}

-- The unique key is free, if this invocation holds it.
local function free_key(id, key)
  if redis.call('GET', P .. 'unique:' .. key) == id then redis.call('DEL', P .. 'unique:' .. key) end
end

-- A host has taken an invocation with this field m: what is unique only while it waits is so no more.
local function free_when_taken(id, m)
  local is_read, more = pcall(cjson.decode, m)
  local unique = is_read and more.unique
  if unique and unique.scope == 'queued' then free_key(id, unique.key) end
end

local function ended(id, letter, record)
  if record.u then
    -- Kept until everybody who waits for it has ended: they may read what it came to.
    redis.call('PERSIST', P .. 'i:' .. id)
  end
  if record.u or record.y or (record.more and record.more.idem) then
    keep_beside(id, record.e, record.y, record.m, not record.u and record_ttl(id, record.l))
  end
  if record.b then notes[#notes + 1] = {id, letter, record.b} end
  if record.j then freed[#freed + 1] = {id, 1} end
  local more = record.more
  if more and more.unique and type(more.unique.scope) == 'string' then free_key(id, more.unique.key) end
  if more and more.schedule then free_schedule(more.schedule, id) end
end


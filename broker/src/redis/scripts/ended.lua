-- Shared by settle and finish, in front of which it stands: what follows from the end of an invocation, beside its outcome.
--
-- Expects before it is called: P (key prefix), now (ms; nil until somebody asked for it, see clock).
-- ended(id, letter, record): the invocation has just been written as ended, with s, f, c or e. It is called for those with
-- field m (what the invocation uses beyond the plain) or b (others wait for it) alone: plain ones cost nothing more.
-- `record` has at least the fields b, d, w, l and e by name, and `more`: field m, decoded, or nil.

-- Redis' time in ms: asked for once, and only by those who need it.
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return now
end

-- A time of this schedule may wait for the run that has ended: then the tickers look at it.
local function free_schedule(name)
  if redis.call('HEXISTS', P .. 's:' .. name, 'waits') == 1 then
    redis.call('ZADD', P .. 'schedules', 'XX', 'LT', clock(), name)
    redis.call('PUBLISH', P .. 'due', 0)
  end
end

local function ended(id, letter, record)
  local more = record.more
  if more and more.schedule then free_schedule(more.schedule) end
end


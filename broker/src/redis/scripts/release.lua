-- Gives invocations back to the head of their queues; the attempts did not count and nobody crashed.
-- One that somebody asked to cancel is cancelled instead. `due.lua`, `place.lua`, `ended.lua`, `finish.lua` and
-- `follow.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 head of a cancelled outcome, 2 retention (see `dead.lua`), 3 reply stream TTL ms, 4 reply stream cap in entries;
--          then id, token for each lease, at most 500
-- Returns  how many were held.
-- Writes   i:<id>, leases, due, and what `place.lua` writes; for what it cancels: uses, e:<id>, reply:<client>.

local released = 0
-- Backwards, so that the first one stands first again.
for at = #ARGV - 1, 5, -2 do
  local id, token = ARGV[at], ARGV[at + 1]
  local record = read(id)
  if record and record.s == 'r' .. token then
    released = released + 1
    redis.call('ZREM', P .. 'leases', id)
    if record.g then give_back(id, record.g) end
    -- The fence number only grows, which makes tokens unique; the attempt is taken back.
    record.attempt = record.attempt - 1
    record.token = record.host .. '.' .. record.fence .. '.' .. record.attempt
    if record.x then
      finish(id, 'c', ARGV[1], record)
    else
      redis.call('HSET', P .. 'i:' .. id, 's', 'q' .. record.token)
      place(record.q, id, record.more, true)
      local verdict, ends = verdict_on(record.t, record.attempt)
      if verdict or ends then due(id, ends or now) end
    end
  end
end
follow_up(200)
write_places()
write_dues(now)
trim_dead(now)
return released

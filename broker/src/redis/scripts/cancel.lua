-- Stops an invocation: at once when it waits, by a request to its host when it runs.
-- `due.lua`, `place.lua`, `ended.lua`, `finish.lua` and `follow.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 head of a cancelled outcome, 2 retention (see `dead.lua`), 3 reply stream TTL ms, 4 reply stream cap in entries, 5 id
-- Returns  0 = no record, 1 = cancelled now, 2 = its host has been told, 3 = it had ended
-- Writes   i:<id>; for what it cancels: stale, due, scheduled, uses, e:<id>, reply:<client>. Publishes the id on host:<host>.

local id = ARGV[5]

local function cancel(record)
  if not record then return 0 end
  if record.state == 'r' then
    redis.call('HSET', P .. 'i:' .. id, 'x', 1)
    redis.call('PUBLISH', P .. 'host:' .. record.host, id)
    return 2
  end
  if record.state ~= 'b' and record.state ~= 'w' and record.state ~= 'q' then return 3 end
  -- Its id stays in the list (removing it would be O(n)); reserve skips it, `stale` corrects the depth meanwhile.
  if record.state == 'q' then redis.call('HINCRBY', P .. 'stale', record.q, 1) end
  finish(id, 'c', ARGV[1], record)
  return 1
end

local answer = cancel(read(id))
follow_up(200)
write_places()
write_dues(now)
trim_dead(now)
return answer

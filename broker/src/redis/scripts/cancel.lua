-- Stops an invocation: at once when it waits, by a request to its host when it runs.
-- `due.lua`, `place.lua`, `ended.lua`, `finish.lua` and `follow.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 head of a cancelled outcome, 2 result TTL ms, 3 reply stream TTL ms, 4 reply stream cap in entries, 5 id,
--          6 1 = what it has called, and what that has called, is cancelled too, in bounded steps
-- Returns  0 = no record, 1 = cancelled now, 2 = its host has been told, 3 = it had ended
-- Writes   i:<id>; for what it cancels: stale, due, scheduled, uses, e:<id>, reply:<client>. Publishes the id on host:<host>.

local id, has_children = ARGV[5], ARGV[6] == '1'
local record = read(id)
local answer = cancel(id, record, has_children and 2 or 1)
if record and record.y and has_children then felled[#felled + 1] = {id, 0} end
follow_up(200)
write_places()
write_dues(now)
return answer

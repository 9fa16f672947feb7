-- Pauses a queue, a host or a task. `prefix.lua` and `limiting.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 `queue:<queue>`, `host:<host>` or `task:<module>/<task>`
-- Returns  1 when it was not paused already, else 0
-- Writes   paused; for a task: limiting, limited. A paused task is held back as a limit with no room does it: see `reserve.lua`.

local what = ARGV[1]
local time = redis.call('TIME')
local since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if redis.call('HSETNX', P .. 'paused', what, since) == 0 then return 0 end
if string.sub(what, 1, 5) == 'task:' then note_limiting('!' .. what, true) end
return 1

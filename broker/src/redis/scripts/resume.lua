-- Ends a pause: of a queue or a host, and has each host look at its queues; of a task, and lets go what waits for it.
-- `prefix.lua`, `place.lua`, `limits.lua` and `limiting.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 `queue:<queue>`, `host:<host>` or `task:<module>/<task>`
-- Returns  1 when it was paused, else 0
-- Bounds   1000 hosts are woken; others look when their waits are over, within ten seconds.
-- Writes   paused, wake:@<host>; for a task: limiting, limited, and what `limits.lua` writes.

local what = ARGV[1]
if redis.call('HDEL', P .. 'paused', what) == 0 then return 0 end
if string.sub(what, 1, 5) == 'task:' then
  note_limiting('!' .. what, false)
  go_on(what)
  write_places()
  return 1
end
local hosts = redis.call('ZRANGE', P .. 'hosts', 0, 999)
-- One that has not said its name yet may wait all the same.
hosts[#hosts + 1] = string.match(what, '^host:(.+)$')
for _, host in ipairs(hosts) do
  redis.call('ZADD', P .. 'wake:@' .. host, 0, '0')
  redis.call('PEXPIRE', P .. 'wake:@' .. host, 60000)
end
return 1

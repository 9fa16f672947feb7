-- Ends a pause, and has each host look at its queues.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 `queue:<queue>` or `host:<host>`
-- Returns  1 when it was paused, else 0
-- Bounds   1000 hosts are woken; others look when their waits are over, within ten seconds
-- Writes   paused, wake:@<host>.

local P = KEYS[1]
if redis.call('HDEL', P .. 'paused', ARGV[1]) == 0 then return 0 end
local hosts = redis.call('ZRANGE', P .. 'hosts', 0, 999)
-- One that has not said its name yet may wait all the same.
hosts[#hosts + 1] = string.match(ARGV[1], '^host:(.+)$')
for _, host in ipairs(hosts) do
  redis.call('ZADD', P .. 'wake:@' .. host, 0, '0')
  redis.call('PEXPIRE', P .. 'wake:@' .. host, 60000)
end
return 1

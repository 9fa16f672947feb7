-- Prolongs leases whose tokens still hold, and notes that the host lives.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 host, 2 lease ms; then id, token for each lease, at most 500
-- Returns  two lists: ids whose lease is lost, ids that somebody wants cancelled
-- Writes   leases, hosts.

local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = now + tonumber(ARGV[2])
local scored, lost, cancelled = {}, {}, {}

for at = 3, #ARGV, 2 do
  local id = ARGV[at]
  local record = redis.pcall('HMGET', P .. 'i:' .. id, 's', 'x')
  if record[1] ~= 'r' .. ARGV[at + 1] then
    lost[#lost + 1] = id
  else
    scored[#scored + 1] = expiry
    scored[#scored + 1] = id
    if record[2] then cancelled[#cancelled + 1] = id end
  end
end
-- A first write that OOM lets through, so that the leases of running attempts never lapse for lack of memory.
redis.call('ZREM', P .. 'leases', '')
if #scored > 0 then redis.call('ZADD', P .. 'leases', unpack(scored)) end
redis.call('ZADD', P .. 'hosts', 'XX', now, ARGV[1])
return {lost, cancelled}

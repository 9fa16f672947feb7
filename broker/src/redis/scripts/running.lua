-- Counts one page of what runs, by queue and by host.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 first lease of the page (from 0), 2 leases on a page (at most 1000)
-- Returns  leases seen; list of queue, count, ...; list of host, count, ...
-- Writes   nothing.

local P = KEYS[1]
local first, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local ids = redis.call('ZRANGE', P .. 'leases', first, first + size - 1)
local queues, hosts = {}, {}
for _, id in ipairs(ids) do
  local record = redis.pcall('HMGET', P .. 'i:' .. id, 'h', 's')
  local queue = string.match(record[1] or '', '^%d+ (%S+) ')
  if queue and record[2] then
    local host = string.match(record[2], '^r(.*)%.%d+%.%d+$') or ''
    queues[queue] = (queues[queue] or 0) + 1
    hosts[host] = (hosts[host] or 0) + 1
  end
end
local function flat(counts)
  local list = {}
  for name, count in pairs(counts) do
    list[#list + 1] = name
    list[#list + 1] = count
  end
  return list
end
return {#ids, flat(queues), flat(hosts)}

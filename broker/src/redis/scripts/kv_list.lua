-- One page of a module's keys in the order of their bytes. `kv_head.lua` stands in front of it.
--
-- ARGV     4 from and 5 to, as ZRANGE BYLEX takes them; 6 keys to look at, at most 1000
-- Returns  how many keys were looked at, the last of them ('' = none), then those that have not expired
-- Writes   removes those of the page that have expired: they are met once

local page = redis.call('ZRANGE', order, ARGV[4], ARGV[5], 'BYLEX', 'LIMIT', 0, ARGV[6])
if #page == 0 then return {0, ''} end
local answer = {#page, page[#page]}
local ends = redis.call('ZMSCORE', expiry, unpack(page))
for at, key in ipairs(page) do
  if ends[at] and tonumber(ends[at]) <= now then
    remove(key)
  else
    answer[#answer + 1] = key
  end
end
return answer

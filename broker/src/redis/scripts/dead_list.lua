-- A page of dead letters, newest first.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 dead letters' TTL ms, 2 and 3 ended from this ms on and before that one ('' = any), 4 most, at most 500;
--          5 and 6 id and time of the last letter of the page before ('' = the first page)
-- Returns  id and time of each
-- Writes   nothing.

local dead = KEYS[1] .. 'dead'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = math.max(now - tonumber(ARGV[1]) + 1, tonumber(ARGV[2]) or 0)
local from = ARGV[3] ~= '' and '(' .. ARGV[3] or '+inf'
local most = tonumber(ARGV[4])
if ARGV[5] == '' then
  return redis.call('ZRANGE', dead, from, first, 'BYSCORE', 'REV', 'LIMIT', 0, most, 'WITHSCORES')
end
local rank = redis.call('ZREVRANK', dead, ARGV[5])
local page
if rank then
  page = redis.call('ZRANGE', dead, rank + 1, rank + most, 'REV', 'WITHSCORES')
else
  -- It was retried or dropped since. Those of the same millisecond may come twice.
  page = redis.call('ZRANGE', dead, ARGV[6], first, 'BYSCORE', 'REV', 'LIMIT', 0, most, 'WITHSCORES')
end
local answer = {}
for index = 1, #page, 2 do
  if tonumber(page[index + 1]) < first then break end
  answer[index], answer[index + 1] = page[index], page[index + 1]
end
return answer

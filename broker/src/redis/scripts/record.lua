-- Keeps what an attempt reports and tells those who watch that there is something to read.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 id, 2 token, 3 events kept, 4 attempt, 5 last progress as JSON ('' = none);
--          then for each event, at most 100: kind (p progress, l log, c chunk), content type ('' unless a chunk), value
-- Returns  1 when kept, 0 when the lease is no longer held
-- Writes   e:<id> (fields a attempt, k kind, c content type, v value), i:<id> (e, p). Publishes on e:<id>.

local P = KEYS[1]
local id = ARGV[1]
local key, events = P .. 'i:' .. id, P .. 'e:' .. id
local record = redis.pcall('HMGET', key, 's', 'e')
if record[1] ~= 'r' .. ARGV[2] then return 0 end

for at = 6, #ARGV, 3 do
  redis.call('XADD', events, 'MAXLEN', '~', ARGV[3], '*',
    'a', ARGV[4], 'k', ARGV[at], 'c', ARGV[at + 1], 'v', ARGV[at + 2])
end
if ARGV[5] ~= '' then
  redis.call('HSET', key, 'e', 1, 'p', ARGV[5])
elseif not record[2] then
  redis.call('HSET', key, 'e', 1)
end
redis.call('PUBLISH', events, '')
return 1

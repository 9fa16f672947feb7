-- Makes an admitted module callable and moves its name, under the lease of the admission.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 id, 2 token of the admission, 3 digest hex, 4 bare name, 5 versioned name ('' = none), 6 manifest JSON;
--          then task, queue ('' = none) for each task
-- Returns  'ok'; 'stale' = the lease is no longer held; 'gone' = the bytes are not there (any more);
--          else the digest hex that the version points to already
-- Writes   w:<digest> (no expiry any more), m:<digest>, modules, names (value: digest hex, space, ms).

local P = KEYS[1]
if redis.call('HGET', P .. 'i:' .. ARGV[1], 's') ~= 'r' .. ARGV[2] then return 'stale' end

local digest, name, version = ARGV[3], ARGV[4], ARGV[5]
if version ~= '' then
  local entry = redis.call('HGET', P .. 'names', version)
  if entry and string.sub(entry, 1, 64) ~= digest then return string.sub(entry, 1, 64) end
end
if redis.call('EXISTS', P .. 'w:' .. digest) == 0 then return 'gone' end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local module = P .. 'm:' .. digest
redis.call('DEL', module)
redis.call('HSET', module, 'manifest', ARGV[6])
for at = 7, #ARGV, 2 do
  redis.call('HSET', module, 't:' .. ARGV[at], ARGV[at + 1])
end
redis.call('PERSIST', P .. 'w:' .. digest)
redis.call('ZADD', P .. 'modules', 'NX', now, digest)
redis.call('HSET', P .. 'names', name, digest .. ' ' .. string.format('%.0f', now))
if version ~= '' and redis.call('HEXISTS', P .. 'names', version) == 0 then
  redis.call('HSET', P .. 'names', version, digest .. ' ' .. string.format('%.0f', now))
end
return 'ok'

-- Removes names, and the modules that they pointed to and no name points to any more. All or nothing.
-- Reads every name: there are as many as people have pushed, and nobody removes in a loop.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 kind: name, version or digest; 2 the name, the versioned name, or the digest hex
-- Returns  -1 = removed; -2 = no such name or digest; else the number of unfinished invocations that need the module
-- Writes   names, m:<digest>, w:<digest>, modules.

local P = KEYS[1]
local kind, subject = ARGV[1], ARGV[2]
local names = redis.call('HGETALL', P .. 'names')
local doomed, digests, kept = {}, {}, {}
if kind == 'digest' and redis.call('EXISTS', P .. 'm:' .. subject) == 1 then digests[subject] = true end

for at = 1, #names, 2 do
  local name, digest = names[at], string.sub(names[at + 1], 1, 64)
  local is_doomed = name == subject
  if kind == 'name' then
    is_doomed = is_doomed or string.sub(name, 1, #subject + 1) == subject .. '@'
  elseif kind == 'digest' then
    is_doomed = digest == subject
  end
  if is_doomed then
    doomed[#doomed + 1] = name
    digests[digest] = true
  else
    kept[digest] = true
  end
end
if not next(digests) then return -2 end

for digest in pairs(digests) do
  local uses = tonumber(redis.call('HGET', P .. 'uses', digest) or 0)
  if not kept[digest] and uses > 0 then return uses end
end
for _, name in ipairs(doomed) do
  redis.call('HDEL', P .. 'names', name)
end
for digest in pairs(digests) do
  if not kept[digest] then
    redis.call('UNLINK', P .. 'm:' .. digest, P .. 'w:' .. digest)
    redis.call('ZREM', P .. 'modules', digest)
  end
end
return -1

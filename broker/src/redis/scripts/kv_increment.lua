-- Adds to a whole number in a module's store. `kv_head.lua` stands in front of it.
-- HINCRBY does the sum: Lua's own numbers are exact to 2^53 only.
--
-- ARGV     4 key, 5 by, 6 time to live in ms ('' = for ever) of a key that is not there yet
-- Returns  {`ok`, sum as text}; {`number`} when the value is no whole number; {`overflow`}; {`keys`}, {`bytes`}, {`again`}
--          as kv_set

local key, by = ARGV[4], ARGV[5]
local old = read(key)
if not old then
  local lacking = write(key, false, by, ARGV[6])
  if lacking then return {lacking} end
  return {'ok', by}
end
local sum = redis.pcall('HINCRBY', values, key, by)
if type(sum) == 'table' then
  if string.find(sum.err, 'overflow') then return {'overflow'} end
  return {'number'}
end
local new = redis.call('HGET', values, key)
local lacking = full(0, #new - #old)
if lacking then
  redis.call('HSET', values, key, old)
  return {lacking}
end
grow(#new - #old)
return {'ok', new}

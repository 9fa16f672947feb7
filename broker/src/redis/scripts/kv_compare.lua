-- Sets or removes a key of a module's store if it has the value expected. `kv_head.lua` stands in front of it.
--
-- ARGV     4 key; 5 value expected, or 6 = '' when it must not be there; 7 new value, or 8 = '' to remove the key;
--          9 time to live in ms ('' = for ever)
-- Returns  `ok`; `other` when it has another value; `keys`, `bytes`, `again` as kv_set

local key = ARGV[4]
local old = read(key)
local expected = ARGV[6] ~= '' and ARGV[5]
if old ~= expected then return 'other' end
if ARGV[8] ~= '' then return write(key, old, ARGV[7], ARGV[9]) or 'ok' end
if old then remove(key) end
return 'ok'

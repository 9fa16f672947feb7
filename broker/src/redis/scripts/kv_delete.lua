-- Removes a key of a module's store. `kv_head.lua` stands in front of it.
--
-- ARGV     4 key
-- Returns  1 when it was there, else 0

if not read(ARGV[4]) then return 0 end
remove(ARGV[4])
return 1

-- Has those go on who wait for scopes that may have room now. `prefix.lua`, `place.lua` and `limits.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     scopes, at most 100
-- Returns  1.
-- Writes   what `limits.lua` writes.

for _, scope in ipairs(ARGV) do go_on(scope) end
write_places()
return 1

-- What `due.lua` expects, for the scripts that need nothing else.
local P = KEYS[1]


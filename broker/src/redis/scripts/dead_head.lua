-- What `dead.lua` expects, for `settle.lua` and `dead_drop.lua`: the retention is their first argument.
local P = KEYS[1]
local retention = ARGV[1]


-- What `dead.lua`, `due.lua` and `ended.lua` expect, from the arguments of `settle.lua`.
local P = KEYS[1]
local now
local retention, reply_ttl, reply_cap = ARGV[1], ARGV[2], tonumber(ARGV[3])


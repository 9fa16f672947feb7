-- What `finish.lua` and `dead.lua` expect, from the arguments of `reserve.lua`.
local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local retention, reply_ttl, reply_cap = ARGV[8], ARGV[9], tonumber(ARGV[10])


-- What the parts in front of `submit.lua` expect, from its arguments.
local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local retention, reply_ttl, reply_cap = ARGV[1], ARGV[2], tonumber(ARGV[3])


-- What the parts in front of `reserve.lua` expect, from its arguments; and what that itself keeps.
local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local retention, reply_ttl, reply_cap = ARGV[8], ARGV[9], tonumber(ARGV[10])

local host, most, lease_ms, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local leases = P .. 'leases'
local ageing, share = tonumber(ARGV[13]), tonumber(ARGV[14])

local answer = {0, -1, now, ''}
local scored, bytes, taken, skips = {}, 0, 0, 1000
local is_limited, barriers, noted = false, {}, {}
local stales = {}
-- See `reserve.lua`.
local take

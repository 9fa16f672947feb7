-- Reads schedules.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     names, at most 100
-- Returns  now in ms; then for each that there is: name, spec (JSON), input, next ms ('' = never, or paused), 1 when it
--          is paused else '', ms of the times that wait for an earlier run ('' = none), revision, list of runs
-- Writes   nothing.
-- Bounds   100 schedules of at most 64 KiB of input.

local P = KEYS[1]
local time = redis.call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
for _, name in ipairs(ARGV) do
  local record = redis.call('HMGET', P .. 's:' .. name, 'spec', 'input', 'next', 'paused', 'waits', 'v')
  if record[1] then
    local last = #answer
    answer[last + 1] = name
    for index = 1, 6 do answer[last + 1 + index] = record[index] or '' end
    answer[last + 8] = redis.call('LRANGE', P .. 'sr:' .. name, 0, -1)
  end
end
return answer

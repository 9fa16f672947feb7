-- Reads those of these invocations that are asked for.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 letters of the states asked for ('' = any), 2 queue ('' = any), 3 and 4 accepted at least and at most so
--          many ms ago ('' = any), 5 and 6 accepted from this ms on and before that one ('' = any),
--          7 a concurrency key or fairness key ('' = any), 8 number of fields; then the fields' names, then ids, at most 100
-- Returns  for each that is asked for: its id and the fields in order; of field r the head alone.
-- Writes   nothing.

local P = KEYS[1]
local states, queue = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = math.max(ARGV[4] ~= '' and now - ARGV[4] or 0, tonumber(ARGV[5]) or 0)
local last = math.min(ARGV[3] ~= '' and now - ARGV[3] or math.huge, (tonumber(ARGV[6]) or math.huge) - 1)
local fields, head = {'h', 's'}, nil
local key, count = ARGV[7], tonumber(ARGV[8])
for at = 9, 8 + count do
  fields[#fields + 1] = ARGV[at]
  if ARGV[at] == 'r' then head = #fields end
end

-- Whether field m has the key that is asked for.
local function has_key(id)
  if key == '' then return true end
  local m = redis.call('HGET', P .. 'i:' .. id, 'm')
  local is_read, more = pcall(cjson.decode, m or '')
  return is_read and (more.key == key or more.fair == key)
end

local answer = {}
for at = 9 + count, #ARGV do
  local record = redis.pcall('HMGET', P .. 'i:' .. ARGV[at], unpack(fields))
  -- Another type, or no header: no record that can be read.
  local accepted, own = string.match(not record.err and record[1] or '', '^(%d+) (%S+) ')
  accepted = tonumber(accepted)
  local letter = string.sub(record[2] or 'q', 1, 1)
  if accepted and accepted >= first and accepted <= last and (queue == '' or queue == own)
    and (states == '' or string.find(states, letter, 1, true)) and has_key(ARGV[at]) then
    if head and record[head] then record[head] = string.match(record[head], '^[^\n]*') end
    answer[#answer + 1] = ARGV[at]
    for index = 3, #fields do
      answer[#answer + 1] = record[index]
    end
  end
end
return answer

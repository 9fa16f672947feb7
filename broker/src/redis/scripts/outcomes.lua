-- Reads outcomes; where there is none yet, has the client told when there is.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 client that waits ('' = none), 2 bytes of output after which no more are read; 3... ids, at most 500
-- Returns  for each id, as far as the bytes went: nil-free triples flattened: 0 = no record, 1 = no outcome yet,
--          2 = ended; result (head JSON and, behind a line
--          feed, a small output) or ''; output that is not in the result, or ''
-- Writes   i:<id> (field w, at most 64 clients).

local P = KEYS[1]
local client, budget = ARGV[1], tonumber(ARGV[2])
local answer, bytes = {}, 0

local function wait_for(key, waiters)
  if client == '' then return end
  if not waiters or waiters == '' then
    redis.call('HSET', key, 'w', client)
    return
  end
  local count = 0
  for other in string.gmatch(waiters, '%S+') do
    if other == client then return end
    count = count + 1
  end
  if count < 64 then redis.call('HSET', key, 'w', waiters .. ' ' .. client) end
end

for at = 3, #ARGV do
  if bytes >= budget then break end
  local key = P .. 'i:' .. ARGV[at]
  local record = redis.pcall('HMGET', key, 'h', 'r', 'o', 'w')
  local kind, head, output = 0, '', ''
  if not record.err and record[1] then
    kind = 1
    if record[2] then
      kind = 2
      head, output = record[2], record[3] or ''
      bytes = bytes + #head + #output
    else
      wait_for(key, record[4])
    end
  end
  local last = #answer
  answer[last + 1], answer[last + 2], answer[last + 3] = kind, head, output
end
return answer

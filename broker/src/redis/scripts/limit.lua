-- Sets a limit, or removes it. `prefix.lua`, `place.lua`, `limits.lua` and `limiting.lua`
-- stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 scope, 2 limit as JSON ('' = remove it), 3 the queue that it is about, '' for another scope,
--          4 how many may wait in it ('' = any number), 5 1 when it holds something back in reserve
-- Returns  1.
-- Writes   limits, max_queue, limiting, limited, special:<queue>, and what `limits.lua` writes.

local scope, queue = ARGV[1], ARGV[3]
if ARGV[2] == '' then
  redis.call('HDEL', P .. 'limits', scope)
else
  redis.call('HSET', P .. 'limits', scope, ARGV[2])
end
if queue ~= '' then
  if ARGV[4] == '' then
    redis.call('HDEL', P .. 'max_queue', queue)
  else
    redis.call('HSET', P .. 'max_queue', queue, ARGV[4])
  end
  -- Reserve takes the mark away where there is no reason for it any more.
  if ARGV[5] == '1' then mark(queue) end
else
  note_limiting(scope, ARGV[5] == '1')
end
go_on(scope)
write_places()
return 1

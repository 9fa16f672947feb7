-- Shared by limit, pause and resume: whether reserve has to look at limits. `prefix.lua` stands in front of it.
--
-- limiting: the scopes of tasks and keys that hold something back: `<scope>` by a limit, `!<scope>` by a pause.
-- limited: a list with the entry 1 while there are any, which a reserve pops along with the ready list.

local function note_limiting(member, is_one)
  redis.call(is_one and 'SADD' or 'SREM', P .. 'limiting', member)
  redis.call('DEL', P .. 'limited')
  if redis.call('EXISTS', P .. 'limiting') == 1 then redis.call('RPUSH', P .. 'limited', '1') end
end


-- What holds for an invocation where its caller says nothing: the defaults of its task (`TaskDefaults`) and its queue. Prepended to
-- scripts that submit; behind `submit_head.lua`, which has the time.

-- The smaller of two TTLs, where both are given: an author asks for no more than the queue keeps.
local function least(a, b)
  if a == '' or b == '' then return a .. b end
  return tonumber(a) < tonumber(b) and a or b
end

-- Milliseconds behind the moment when an invocation may start.
local function behind(starts, span)
  local in_ms = starts == '-' and '0' or string.match(starts, '^%+(%d+)$')
  if in_ms then return string.format('+%.0f', in_ms + span) end
  return string.format('%.0f', math.max(tonumber(starts), now) + span)
end

-- What a task says of its invocations where their callers do not: result TTL, times and features with that.
local function with_defaults(own, ttl, times, more)
  if ttl == '' and own.ttl then ttl = string.format('%.0f', own.ttl) end
  if own.expires or own.deadline then
    local starts, expires, deadline = string.match(times ~= '' and times or '- - -', '^(%S+) (%S+) (%S+)$')
    if expires == '-' and own.expires then expires = behind(starts, own.expires) end
    if deadline == '-' and own.deadline then deadline = behind(starts, own.deadline) end
    times = starts .. ' ' .. expires .. ' ' .. deadline
  end
  if own.band and more == '' then
    more = string.format('{"band":%d}', own.band)
  elseif own.band and not cjson.decode(more).band then
    more = string.format('{"band":%d,', own.band) .. string.sub(more, 2)
  end
  return ttl, times, more
end


-- Shared by every script that ends a lease, and by limit: gives back what a limit counts, and has others go on. Prepended
-- to those scripts, behind `place.lua`, whose write_places() must be called afterwards.
--
-- A task that is paused is held back in the same way: its scope has no room then.
-- A limit's scope is queue:<queue>, task:<module>/<task> or key:<key>. held:<scope> is the set of ids that count against
-- its concurrency; field g of an invocation names those scopes. What is held back by a task's or a key's limit waits in
-- lists of its own, q:<queue>:<band> !<scope>, made as those of `place.lua` are; parked:<scope> is the set of queues
-- where there are some, `waiting` the set of those scopes. When there is room, the first of each band goes back to
-- the head of its band, as `!<id><scope>`: reserve lets go the next one when that one has been dealt with.
-- Bounds   100 queues in a call; where something waits in more, `due` has tick go on, with a hundred queues a second.
-- Writes   parked:<scope>, waiting, held:<scope>, due, and what `place.lua` writes. Publishes on due.

-- Lets go the first that waits for this scope in this band of this queue; whether there was one.
local function let_one_go(queue, band, scope)
  local parked = band .. ' !' .. scope
  local id = redis.call('LPOP', list_of(queue, parked))
  if not id then return false end
  -- 64 is @: the turn of a key.
  if string.byte(id) == 64 then
    local turn = id
    local lane = list_of(queue, parked, string.sub(turn, 2))
    id = redis.call('LPOP', lane)
    if not id then return false end
    if redis.call('EXISTS', lane) == 1 then redis.call('RPUSH', list_of(queue, parked), turn) end
  end
  redis.call('LPUSH', list_of(queue, band), '!' .. id .. scope)
  if band == 1 then stand_aside(queue, -1) else mark(queue) end
  places[queue] = places[queue] or {}
  return true
end

-- Lets go the first ones that wait for this scope, in at most 100 queues; whether others may wait in more.
local function let_some_go(scope)
  local queue = string.match(scope, '^queue:(.*)$')
  if queue then
    places[queue] = places[queue] or {}
    return false
  end
  local parked = P .. 'parked:' .. scope
  local queues = redis.call('SCARD', parked)
  for _, queue in ipairs(redis.call('SRANDMEMBER', parked, 100)) do
    local is_any = false
    for band = 0, 2 do is_any = let_one_go(queue, band, scope) or is_any end
    if not is_any then redis.call('SREM', parked, queue) end
  end
  if redis.call('EXISTS', parked) == 0 then redis.call('SREM', P .. 'waiting', scope) end
  return queues > 100
end

-- There may be room: has whoever waits for it go on. When there are more than 100 queues, tick goes on with them in a second.
local function go_on(scope)
  if not let_some_go(scope) then return end
  local time = redis.call('TIME')
  local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + 1000)
  if redis.call('ZADD', P .. 'due', 'LT', 'CH', at, '~' .. scope) == 1 then redis.call('PUBLISH', P .. 'due', 1000) end
end

-- The lease of an invocation has ended: gives back its places in these scopes. Once: what is not in the set frees nothing.
local function give_back(id, scopes)
  for scope in string.gmatch(scopes, '%S+') do
    if redis.call('SREM', P .. 'held:' .. scope, id) == 1 then go_on(scope) end
  end
end


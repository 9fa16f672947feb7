-- For submit alone: has a new invocation wait for others. `follow.lua` stands in front of it.

-- Notes that `id` is called by an invocation that runs; false when that does not run, or is to stop with all that it calls.
local function is_called(id, parent)
  local record = redis.pcall('HMGET', P .. 'i:' .. parent, 's', 'x', 'y')
  if record.err or not record[1] or string.byte(record[1]) ~= 114 or record[2] == '2' then return false end
  redis.call('RPUSH', P .. 'kids:' .. parent, id)
  if not record[3] then redis.call('HSET', P .. 'i:' .. parent, 'y', 1) end
  return true
end

-- How many may wait for one invocation, how long a chain may be, and the bytes of edges that stand in the record itself.
local MAX_DEPENDENTS, MAX_CHAIN, INLINE = 10000, 10000, 8 * 37

-- The parents that `after` names (f or k, then edges), with what there is of them, and how long the chain is then; or why
-- they cannot be waited for: 11 = there is no such invocation, 12 = too many wait for it, 13 = the chain is too long; and
-- a hundred times its number, from 1.
local function check_parents(after)
  local parents, chain = {}, 0
  for from = 2, #after, 37 do
    local parent = {id = string.sub(after, from, from + 35), wanted = string.sub(after, from + 36, from + 36)}
    local key, number = P .. 'i:' .. parent.id, (from - 2) / 37 + 1
    local record = redis.pcall('HMGET', key, 's', 'b', 'u', 'j')
    local is_bare = not (record[1] or record[2] or record[3] or record[4])
    if record.err or (is_bare and redis.call('EXISTS', key) == 0) then return 11 + 100 * number end
    parent.letter, parent.edges = string.sub(record[1] or 'q', 1, 1), record[2] or ''
    if tonumber(record[3] or 0) >= MAX_DEPENDENTS then return 12 + 100 * number end
    chain = math.max(chain, tonumber(string.sub(record[4] or 'f0', 2)) or 0)
    if chain >= MAX_CHAIN then return 13 + 100 * number end
    parents[number] = parent
  end
  return nil, parents, chain + 1
end

-- Has `id` wait for its parents; for how many, and the first one that has ended, and not as wanted.
local function join(id, parents)
  local pending, unmet = 0, nil
  for _, parent in ipairs(parents) do
    local key, edge = P .. 'i:' .. parent.id, id .. parent.wanted
    redis.call('HINCRBY', key, 'u', 1)
    if CAME_TO[parent.letter] then
      redis.call('PERSIST', key)
      if not unmet and not is_met(parent.wanted, parent.letter) then unmet = parent end
    else
      pending = pending + 1
      local has_list = string.byte(parent.edges) == 43
      if not has_list and #parent.edges < INLINE then
        redis.call('HSET', key, 'b', parent.edges .. edge)
      else
        redis.call('RPUSH', P .. 'after:' .. parent.id, edge)
        if not has_list then redis.call('HSET', key, 'b', '+' .. parent.edges) end
      end
    end
  end
  return pending, unmet
end


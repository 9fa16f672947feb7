-- Keys that keep an invocation from being submitted twice. `finish.lua` stands in front of it, `submit.lua` behind it.
--
-- Field m gives `idem`: {key, print}, `unique`: {key, scope, on_conflict}, and `retry_of`: the dead letter whose place it takes,
-- and whose window it takes over. The scope is "queued", "done" or
-- {window_ms}; `on_conflict` says what becomes of this one when the key is held: reject, return-existing or replace.
-- A key that is held names its invocation: idem:<key> is `<id> <print>`, unique:<key> is `<id>`.
-- clash(more): nil when the invocation may be written; else a letter and the id of the other: e = the caller gets that one,
-- i = its input is another, u = it holds the unique key. Changes nothing.
-- claim(id, more): the invocation is written; it takes its keys, and what it replaces is cancelled.
-- Writes   idem:<key>, unique:<key>; for what is replaced: as finish.

local REPLACED = '{"code":"cancelled","failure":{"kind":"cancelled","message":"another with its unique key took its place",'
  .. '"retryable":false},"usage":{"fuel":0,"peak_memory_bytes":0,"queue_ms":0,"run_ms":0,"attempt":0,"host":""}}'

-- The record of the invocation that a key names, or nil: then the key is free.
local function owner(id)
  return id and read(id) or nil
end

local function waits(record)
  return record and (record.state == 'q' or record.state == 'w' or record.state == 'b')
end

local function clash(more)
  if more.idem then
    local held = redis.call('GET', P .. 'idem:' .. more.idem.key)
    local id, print = string.match(held or '', '^(%S+) (%S+)$')
    if owner(id) then return (print == more.idem.print and 'e' or 'i') .. id end
  end
  if more.unique then
    local key = P .. 'unique:' .. more.unique.key
    local id = redis.call('GET', key)
    local record = owner(id)
    local goes_on = waits(record) or record and record.state == 'r'
    -- What has ended holds a key only for a window, and that may outlast its record.
    if id and (goes_on or id ~= more.retry_of and redis.call('PTTL', key) > 0) then
      if more.unique.on_conflict == 'return-existing' then return 'e' .. id end
      if more.unique.on_conflict ~= 'replace' or not waits(record) then return 'u' .. id end
    end
  end
  return nil
end

local function claim(id, more)
  if more.idem then redis.call('SET', P .. 'idem:' .. more.idem.key, id .. ' ' .. more.idem.print) end
  local unique = more.unique
  if not unique then return end
  local key = P .. 'unique:' .. unique.key
  local other = unique.on_conflict == 'replace' and redis.call('GET', key)
  local record = owner(other)
  if type(unique.scope) == 'table' then
    redis.call('SET', key, id, 'PX', string.format('%.0f', unique.scope.window_ms))
  else
    redis.call('SET', key, id)
  end
  if waits(record) then
    if record.state == 'q' then redis.call('HINCRBY', P .. 'stale', record.q, 1) end
    finish(other, 'c', REPLACED, record)
  end
end

-- Does what has fallen due: queues what is scheduled, ends what has not started in time or is past its deadline.
-- `due.lua`, `place.lua` and `finish.lua` stand in front of it.
--
-- KEYS[1]  key prefix `cel:{p}:`
-- ARGV     1 head of an expired outcome, 2 retention (see `dead.lua`), 3 reply stream TTL ms, 4 reply stream cap in entries,
--          5 head of an outcome past its deadline, 6 ticker, 7 ms of a term, 8 most invocations
-- Returns  ms until the next one is due, -1 when there is none; ms until this ticker may take over, 0 when it leads.
--          Every host has a ticker. The one that leads comes when something is due, the others when its term is over,
--          so that hosts do not all come for each invocation, and one that dies delays by a term at most.
-- Writes   due, scheduled, ticker, i:<id>, q:<queue>:1, wake:<queue>; for what it ends: stale, uses, e:<id>, reply:<client>.
-- Order    ZREM first: under memory pressure (OOM) the first write of a script decides, and it is always let through.

local ids = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, ARGV[8])
if #ids > 0 then redis.call('ZREM', P .. 'due', unpack(ids)) end

local function make_ready(id, record)
  redis.call('HSET', P .. 'i:' .. id, 's', 'q' .. record.token)
  scheduled(record.q, -1)
  place(record.q, id, record.more, false)
end

for _, id in ipairs(ids) do
  local record = read(id)
  if record and (record.state == 'q' or record.state == 'w') then
    local verdict, ends = verdict_on(record.t, record.attempt)
    if verdict then
      if record.state == 'q' then redis.call('HINCRBY', P .. 'stale', record.q, 1) end
      finish(id, verdict, verdict == 'e' and ARGV[1] or ARGV[5], record)
    else
      local starts = record.state == 'w' and tonumber(record.n) or 0
      if starts > now then
        due(id, math.min(starts, ends or starts))
      else
        if record.state == 'w' then make_ready(id, record) end
        if ends then due(id, ends) end
      end
    end
  end
end
write_places()
write_dues(now)
trim_dead(now)

local next_due = tonumber(redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2])
local leader, turn = redis.call('GET', P .. 'ticker'), 0
if leader and leader ~= ARGV[6] then
  turn = math.max(1, redis.call('PTTL', P .. 'ticker'))
else
  redis.call('SET', P .. 'ticker', ARGV[6], 'PX', ARGV[7])
end
return {next_due and math.max(0, next_due - now) or -1, turn}

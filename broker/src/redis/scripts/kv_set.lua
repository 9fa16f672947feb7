-- Sets a key of a module's store. `kv_head.lua` stands in front of it.
--
-- ARGV     4 key, 5 value, 6 time to live in ms ('' = for ever)
-- Returns  `ok`; `keys` or `bytes` when there is no room for them; `again` when it must be called again

return write(ARGV[4], read(ARGV[4]), ARGV[5], ARGV[6]) or 'ok'

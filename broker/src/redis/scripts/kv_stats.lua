-- What a module's store holds. `kv_head.lua` stands in front of it.
--
-- Returns  {keys, bytes}; {} when so much has expired that it must be called again

if purge(1000) == 1000 then return {} end
return {redis.call('HLEN', values), tonumber(redis.call('HGET', sizes, module)) or 0}

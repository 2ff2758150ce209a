-- glance.lua: goes before plain reads of a shard, on their connection, so that
-- they are known to be of the lease's server.
--
-- takes    KEYS: 1 sale
-- touches  nothing
-- returns  the terms (nil if there are none), seconds and microseconds of the clock

return { redis.call('GET', KEYS[1]), redis.call('TIME') }

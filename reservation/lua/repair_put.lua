-- repair_put.lua: step 2 of a rebuild: lays a part of the new shard down.
--
-- takes    KEYS as in repair_begin.lua; ARGV: 1 what that left in the terms'
--          place, 2 the number of a key, 3 HSET, RPUSH or ZADD, then what to put there
-- touches  11..17
-- returns  1; error FROZEN if this rebuild is not the one under way

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FROZEN the shard is in other hands')
end
local key = KEYS[tonumber(ARGV[2])]
for i = 4, #ARGV, 512 do
  redis.call(ARGV[3], key, unpack(ARGV, i, math.min(i + 511, #ARGV)))
end
return 1

-- create.lua: puts one shard of a sale there, once.
--
-- takes    KEYS as in terms.lua, then 9 moves, 10 net (of a sale with several
--          shards only); ARGV: 1 epoch, 2 the terms, 3 how many shards the sale
--          has, 4 whether to write (1) or only to look whether one could (0),
--          then number and stock of each SKU
-- touches  sale, sku, moves
-- returns  1; error FROZEN if the keys have seen a decision or a transfer, are of
--          another epoch, or are there in part. Keys that nobody used are written
--          anew: they are left from an arming that the record did not commit.

local terms = redis.call('GET', KEYS[1])
if terms then
  if string.match(terms, '^%d+') ~= ARGV[1] then
    return redis.error_reply('FROZEN another epoch of the sale is at the gate')
  end
  if redis.call('HGET', KEYS[2], 'seq') ~= '0' then
    return redis.error_reply('FROZEN the sale is at the gate and in use')
  end
elseif redis.call('EXISTS', KEYS[2]) > 0 then
  return redis.error_reply('FROZEN the gate has lost the terms of the sale')
end
for i = 3, #KEYS do
  -- The journal of a shard that nobody used names its epoch and nothing else.
  if redis.call('EXISTS', KEYS[i]) > 0 and not (i == 9 and terms and redis.call('HLEN', KEYS[9]) == 1) then
    return redis.error_reply('FROZEN the gate has holds of a sale that it does not know')
  end
end
if ARGV[4] == '0' then
  return 1
end
redis.call('DEL', KEYS[2])
for i = 5, #ARGV, 2 do
  local stock = ARGV[i + 1]
  redis.call('HSET', KEYS[2], ARGV[i], stock .. ' 0 0 0 ' .. stock)
end
redis.call('HSET', KEYS[2], 'seq', '0')
if tonumber(ARGV[3]) > 1 then
  redis.call('HSET', KEYS[9], 'epoch', ARGV[1])
end
redis.call('SET', KEYS[1], ARGV[2])
return 1

-- create.lua: puts a sale's keys there, once.
--
-- takes    KEYS as in terms.lua; ARGV: 1 epoch, 2 the terms, then number and
--          stock of each SKU
-- touches  sale, sku
-- returns  1; error FROZEN if the keys have seen a decision, are of another
--          epoch, or are there in part. Keys that nobody used are written anew:
--          they are left from an arming that the record did not commit.

local terms = redis.call('GET', KEYS[1])
if terms then
  if string.match(terms, '^%d+') ~= ARGV[1] then
    return redis.error_reply('FROZEN another epoch of the sale is at the gate')
  end
  if redis.call('HGET', KEYS[2], 'seq') ~= '0' then
    return redis.error_reply('FROZEN the sale is at the gate and in use')
  end
  redis.call('DEL', KEYS[2])
elseif redis.call('EXISTS', KEYS[2]) > 0 then
  return redis.error_reply('FROZEN the gate has lost the terms of the sale')
end
for i = 3, 8 do
  if redis.call('EXISTS', KEYS[i]) > 0 then
    return redis.error_reply('FROZEN the gate has holds of a sale that it does not know')
  end
end
for i = 3, #ARGV, 2 do
  local stock = ARGV[i + 1]
  redis.call('HSET', KEYS[2], ARGV[i], stock .. ' 0 0 0 ' .. stock)
end
redis.call('HSET', KEYS[2], 'seq', '0')
redis.call('SET', KEYS[1], ARGV[2])
return 1

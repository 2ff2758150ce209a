-- install.lua: brings the terms of a sale that is at the gate up to date.
--
-- takes    KEYS: 1 sale, 2 sku; ARGV: 1 epoch, 2 the sale's version, 3 the terms
-- touches  sale
-- returns  1; 0 if a later version stands there; error FROZEN if the sale is
--          not here or another epoch is

local terms = redis.call('GET', KEYS[1])
if not terms or redis.call('EXISTS', KEYS[2]) == 0 then
  return redis.error_reply('FROZEN the sale is not at the gate')
end
if string.match(terms, '^%d+') ~= ARGV[1] then
  return redis.error_reply('FROZEN another epoch of the sale is at the gate')
end
if tonumber(string.match(terms, '(%d+)$')) > tonumber(ARGV[2]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
return 1

-- restock.lua: brings one SKU's stock to an absolute number.
--
-- takes    KEYS: 1 sale, 2 sku; ARGV: 1 epoch, 2 the sale's version, 3 the
--          SKU's number, 4 its stock
-- touches  sale (its version), sku
-- returns  1; 0 if a later version of the sale stands there; -1 if fewer units
--          are available than would be taken away; error FROZEN or CONSERVATION

local terms = redis.call('GET', KEYS[1])
local text = redis.call('HGET', KEYS[2], ARGV[3])
if not terms or not text then
  return redis.error_reply('FROZEN the sale or the SKU is not at the gate')
end
if string.match(terms, '^%d+') ~= ARGV[1] then
  return redis.error_reply('FROZEN another epoch of the sale is at the gate')
end
local front, version = string.match(terms, '^(.* )(%d+)$')
if tonumber(version) > tonumber(ARGV[2]) then
  return 0
end
local a, h, p, s, stock = string.match(text, '^(%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+)$')
if not a or a + h + p + s ~= tonumber(stock) then
  return redis.error_reply('CONSERVATION SKU ' .. ARGV[3] .. ': ' .. text)
end
local available = a + (ARGV[4] - stock)
if available < 0 then
  return -1
end
redis.call('HSET', KEYS[2], ARGV[3], string.format('%d %d %d %d %d', available, h, p, s, ARGV[4]))
redis.call('SET', KEYS[1], front .. ARGV[2])
return 1

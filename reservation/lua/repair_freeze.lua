-- repair_freeze.lua: closes a shard. What stands in the place of the terms then
-- is of no epoch, so every script refuses; it keeps the highest one that was.
--
--   frozen <epoch> [<the rebuild under way>]
--
-- takes    KEYS: 1 sale; ARGV: 1 the epoch that ends here
-- touches  sale
-- returns  1; 0 if it is closed already, or of a later epoch

local terms = redis.call('GET', KEYS[1]) or ''
local floor = tonumber(string.match(terms, '^frozen (%d+)') or nil)
if floor and floor >= tonumber(ARGV[1]) then
  return 0
end
local epoch = tonumber(string.match(terms, '^%d+') or nil)
if epoch and epoch > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], 'frozen ' .. ARGV[1])
return 1

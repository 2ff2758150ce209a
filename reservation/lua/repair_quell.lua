-- repair_quell.lua: what another shard does that gave no answer under its lease.
-- A rebuild of it that is under way reckons with a shard that is lost by now, so
-- it ends here.
--
-- takes    KEYS: 1 sale; ARGV: 1 the epoch of its lease
-- touches  sale
-- returns  0: it is lost; 1: it is open under its lease by now; 2: of a later epoch

local terms = redis.call('GET', KEYS[1]) or ''
local floor = string.match(terms, '^frozen (%d+)')
if floor then
  redis.call('SET', KEYS[1], 'frozen ' .. floor)
  return 0
end
local epoch = tonumber(string.match(terms, '^%d+') or 0)
if epoch == tonumber(ARGV[1]) then
  return 1
end
return epoch > tonumber(ARGV[1]) and 2 or 0

-- transfer_restock.lua: one shard's part in bringing a SKU's stock to a number.
-- Whoever claims last is the only one whose steps count: the steps of somebody
-- who was thought dead are refused, however late they come.
--
-- takes    what transfer.lua gives; ARGV: 2 the sale's version, 3 SKU, 4 the
--          claimant's token, 5 claim or step, 6 units to add; below 0: at most
--          that many to take
-- touches  sale (its version), sku, moves
-- returns  claim: allotted, available. step: units added or taken. Nothing of
--          both if a later version of the sale stands there, or another claims

local no = ARGV[3]
local front, version = string.match(terms, '^(.* )(%d+)$')
if tonumber(version) > tonumber(ARGV[2]) then
  return {}
end
local c, fault = counters(no)
if not c then
  return fault
end
if ARGV[5] == 'claim' then
  call('HSET', KEYS[3], 'restock', ARGV[4])
  call('SET', KEYS[1], front .. ARGV[2])
  return { c[5] + net(no), c[1] }
end
if call('HGET', KEYS[3], 'restock') ~= ARGV[4] then
  return {}
end
local units = math.max(tonumber(ARGV[6]), -c[1])
shift(no, c, units)
return { units }

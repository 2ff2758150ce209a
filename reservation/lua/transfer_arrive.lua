-- transfer_arrive.lua: step 2 of a transfer, at its destination. The units enter
-- the counters, once, however often this is called.
--
-- takes    what transfer.lua gives; ARGV: 2 the source, 3 number, 4 SKU, 5 units
-- touches  sku, moves, net
-- returns  1; 0 if it arrived before; error CONSERVATION if one before it has
--          not, which the source does not let happen

local field, no, units = 'in:' .. ARGV[2], ARGV[4], tonumber(ARGV[5])
local number = last(field)
if tonumber(ARGV[3]) <= number then
  return 0
end
if tonumber(ARGV[3]) ~= number + 1 then
  return redis.error_reply('CONSERVATION transfer ' .. ARGV[3] .. ' from shard ' .. ARGV[2] .. ' arrives after ' .. number)
end
local c, fault = counters(no)
if not c then
  return fault
end
shift(no, c, units)
call('HSET', KEYS[4], no, string.format('%d %d', net(no) - units, clock()))
call('HSET', KEYS[3], field, ARGV[3])
return 1

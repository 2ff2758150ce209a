-- transfer_depart.lua: step 1 of a transfer, at its source. The units leave the
-- counters and stand in the journal.
--
-- takes    what transfer.lua gives; ARGV: 2 the destination, 3 the number that
--          the transfer is to have, 4 SKU, 5 the most units, 6 the least, 7 how
--          many of those available stay behind in any case, 8 how many
--          milliseconds units that arrived here are left alone, 9 the caller's
--          token, by which a repeated call is known
-- touches  sku, moves, net
-- returns  kind, number, SKU, units. Kind 1: this transfer is open (also when the
--          call is repeated); 2: another one of the pair is open and must be
--          completed first; 3: the number is taken, the last one had the number
--          that is given; 0: there are too few units, and nothing was done; 4:
--          there would be, but they arrived a moment ago for somebody else

local field, no = 'out:' .. ARGV[2], ARGV[4]
local number, sku, open, token = last(field)
if open then
  return { token == ARGV[9] and 1 or 2, number, tonumber(sku), open }
end
if tonumber(ARGV[3]) ~= number + 1 then
  return { 3, number, 0, 0 }
end
local c, fault = counters(no)
if not c then
  return fault
end
local units = math.min(c[1] - ARGV[7], tonumber(ARGV[5]))
if units < 1 or units < tonumber(ARGV[6]) then
  return { 0, number, 0, 0 }
end
local gone, arrived = net(no)
if arrived > 0 and tonumber(ARGV[8]) > 0 then
  local age = clock() - arrived
  if age >= 0 and age < tonumber(ARGV[8]) then
    return { 4, number, 0, 0 }
  end
end
shift(no, c, -units)
call('HSET', KEYS[4], no, string.format('%d %d', gone + units, arrived))
call('HSET', KEYS[3], field, string.format('%d %s %d %s', number + 1, no, units, ARGV[9]))
return { 1, number + 1, tonumber(no), units }

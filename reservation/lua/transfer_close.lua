-- transfer_close.lua: step 3 of a transfer, at its source: it has arrived.
--
-- takes    what transfer.lua gives; ARGV: 2 the destination, 3 number
-- touches  moves
-- returns  1; 0 if it was closed before

local field = 'out:' .. ARGV[2]
local number, _, open = last(field)
if not open or number ~= tonumber(ARGV[3]) then
  return 0
end
call('HSET', KEYS[3], field, ARGV[3])
return 1

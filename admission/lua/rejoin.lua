-- rejoin.lua: a new ticket, at the end, for a buyer whose ticket has lapsed or
-- whose admission is over.
--
-- takes    ARGV: 1 epoch, 2 buyer key, 3 the ticket
--          and 4 the place and 5 the N that the caller believes in; what room.lua, waiter.lua
--          and log.lua give
-- touches  bucket, room
-- returns  as join.lua; -2 if the caller believed wrongly

local place = tonumber(ARGV[4])
if ticket ~= ARGV[3] or n ~= tonumber(ARGV[5]) then
  return head(-2, '', 0)
end
local over = claimed and claimed + use <= now
if not claimed and place >= 0 and place < front then
  over = lapsed(reached(place))
end
if not over then
  return head(0, ticket, claimed or 0)
end
return issue()

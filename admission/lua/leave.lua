-- leave.lua: gives a ticket back. Its place becomes a hole that the front passes
-- without waiting for anybody.
--
-- takes    ARGV as
--          rejoin.lua; what room.lua, waiter.lua and log.lua give
-- touches  bucket, room, and of done, holes and spare one
-- returns  the head, then: 1 left, 0 had no ticket, -2 the caller believed wrongly, 2
--          is admitted and keeps that, 3 had lapsed already

local place = tonumber(ARGV[4])
if not ticket then
  return head(0)
end
if ticket ~= ARGV[3] or n ~= tonumber(ARGV[5]) then
  return head(-2)
end
if claimed then
  return head(2)
end
if n < 0 then
  call('RPUSH', SPARE, ticket)
elseif place >= front then
  call('ZADD', HOLES, text(place), text(place))
else
  local number, at = reached(place)
  if lapsed(number, at) then
    call('HDEL', WAITERS, BUYER)
    return head(3)
  end
  call('HINCRBY', DONE, text(number), 1)
  call('HINCRBY', ROOM, 'holed', 1)
end
call('HDEL', WAITERS, BUYER)
call('HINCRBY', ROOM, 'left', 1)
return head(1)

-- claim.lua: admits a buyer whose place the front has passed, within the lease.
--
-- takes    ARGV as rejoin.lua; what room.lua,
--          waiter.lua and log.lua give
-- touches  bucket, done, claims, room
-- returns  the head, then: 1 admitted, 0 not reached yet, -1 the room is closed, -2
--          the caller believed wrongly, 3 lapsed, 4 the admission is over; ms of the
--          claim or, if lapsed, of the lease's end; use

local place = tonumber(ARGV[4])
if ticket ~= ARGV[3] or n ~= tonumber(ARGV[5]) then
  return head(-2, 0, use)
end
if claimed then
  return head(claimed + use <= now and 4 or 1, claimed, use)
end
if place < 0 or place >= front then
  return head(state == 'closed' and -1 or 0, 0, use)
end
local number, at = reached(place)
if lapsed(number, at) then
  return head(3, at + lease, use)
end
if state == 'closed' then
  return head(-1, 0, use)
end
call('HSET', WAITERS, BUYER, ticket .. ' ' .. text(now))
call('HINCRBY', DONE, text(number), 1)
call('HINCRBY', ROOM, 'claimed', 1)
call('HINCRBY', CLAIMS, text(floor(now / 1000)), 1)
call('HINCRBY', ROOM, 'inside', 1)
return head(1, now, use)

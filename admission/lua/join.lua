-- join.lua: gives the buyer a ticket, or the one they have.
--
-- takes    ARGV: 1 epoch, 2 buyer key, 3 join, or look: give none; what
--          room.lua and waiter.lua give
-- touches  bucket, room, spare
-- returns  the head, then: 1 new, 0 had it, -1 the room is closed, -2 only looked and found
--          none; ticket; ms of the
--          claim, 0: none

if ticket then
  return head(0, ticket, claimed or 0)
end
if ARGV[3] == 'look' then
  return head(-2, '', 0)
end
return issue()

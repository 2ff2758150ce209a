-- start.lua: says when the room opens, until it is open. Repeating it changes nothing.
--
-- takes    ARGV: 1 epoch, 2 opens (ms); what room.lua gives
-- touches  room
-- returns  the head

if state == 'armed' then
  call('HSET', ROOM, 'opens', ARGV[2])
  if now >= tonumber(ARGV[2]) then
    open()
  end
end
return head()

-- close.lua: nobody joins, is reached or admitted any more. Repeatable.
--
-- takes    ARGV: 1 epoch; what room.lua gives
-- touches  room
-- returns  the head

state = 'closed'
call('HSET', ROOM, 'state', state)
return head()

-- waiter.lua: one buyer's ticket.
--
-- takes    ARGV: 2 buyer key; what room.lua gives
-- touches  nothing; issue() touches bucket, room and spare
-- gives    ticket (text) and claimed (ms), each nil if there is none; issue(), which
--          gives the reply of join.lua

local BUYER = ARGV[2]
local ticket, claimed
local value = call('HGET', WAITERS, BUYER)
if value then
  ticket, claimed = match(value, '^(%d+) ?(%d*)$')
  claimed = tonumber(claimed)
end

-- issue gives the buyer the next ticket. Before the opening, one that was given back
-- goes first: the shuffle is still to come, so nobody is overtaken, and whoever
-- joins and leaves over and over makes the queue no longer.
local function issue()
  if state == 'closed' then
    return head(-1, '', 0)
  end
  ticket, claimed = state == 'armed' and call('LPOP', SPARE), nil
  if ticket then
    call('HINCRBY', ROOM, 'left', -1)
  else
    ticket, joined = text(joined), joined + 1
    call('HSET', ROOM, 'joined', text(joined))
  end
  call('HSET', WAITERS, BUYER, ticket)
  return head(1, ticket, 0)
end

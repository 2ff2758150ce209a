-- status.lua: the public document and the counters.
--
-- takes    ARGV: 1 epoch; what room.lua gives
-- touches  nothing
-- returns  the head, then the fields below as text; no seed before the opening

local all = call('HMGET', ROOM, 'commitment', 'seed', 'opened', 'opens', 'claimed', 'left', 'lapsed', 'rate', 'reach', 'limit', 'holed',
  'inside', 'took', 'units', 'passed', 'runner', 'runs')
if n < 0 then
  all[2] = ''
end
return head(unpack(all))

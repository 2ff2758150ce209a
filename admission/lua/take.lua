-- take.lua: notes that admitted buyers have taken units. Who repeats it counts twice.
--
-- takes    ARGV: 1 epoch, then in turn the second of claims, how many of those who
--          claimed in it took, and how many units; what room.lua gives
-- touches  claims, room
-- returns  the head

for i = 2, #ARGV, 3 do
  local took = tonumber(ARGV[i + 1])
  local still = tonumber(call('HGET', CLAIMS, ARGV[i]) or 0)
  local inside = math.min(took, still) -- the others were late: they count as passed already
  if inside > 0 then
    call('HINCRBY', CLAIMS, ARGV[i], -inside)
    call('HINCRBY', ROOM, 'inside', -inside)
  end
  if took > inside then
    call('HINCRBY', ROOM, 'passed', inside - took)
  end
  call('HINCRBY', ROOM, 'took', took)
  call('HINCRBY', ROOM, 'units', ARGV[i + 2])
end
return head()

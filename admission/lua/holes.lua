-- holes.lua: lays down the places of tickets that were given back before the
-- opening. Whoever repeats it, or does it beside another, finds nothing left to do.
--
-- takes    ARGV: 1 epoch, 2 the N of the places, then
--          ticket and place in turn, in the order of spare; what room.lua gives
-- touches  holes, spare
-- returns  the head

if n ~= tonumber(ARGV[2]) then
  return head()
end
for i = 3, #ARGV, 2 do
  if call('LINDEX', SPARE, 0) ~= ARGV[i] then
    break
  end
  call('LPOP', SPARE)
  call('ZADD', HOLES, ARGV[i + 1], ARGV[i + 1])
end
return head()

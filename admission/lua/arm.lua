-- arm.lua: makes the room. Repeating it changes nothing. One of the same epoch that
-- nobody has joined gives way to other terms: its arming may never have been committed.
--
-- takes    KEYS: 1 room; ARGV: 1 epoch, 2 commitment, 3 seed (hex), 4 opens (ms; 0:
--          when start.lua says so), 5 lease (ms), 6 use (ms)
-- touches  room
-- returns  1 made, 0 was there with the same terms, -1 is in use with others;
--          error LOST if a later generation is there

local call = redis.call
local names = { 'epoch', 'commitment', 'seed', 'opens', 'lease', 'use' }
local r = call('HMGET', KEYS[1], 'epoch', 'commitment', 'seed', 'opens', 'lease', 'use', 'joined')
if r[1] and tonumber(r[1]) > tonumber(ARGV[1]) then
  return redis.error_reply('LOST the waiting room is of epoch ' .. r[1] .. ', the caller of ' .. ARGV[1])
end
if r[1] == ARGV[1] then
  local same = true
  for i = 2, #names do
    same = same and r[i] == ARGV[i]
  end
  if same or r[7] ~= '0' then
    return same and 0 or -1
  end
end
call('DEL', KEYS[1])
for i = 1, #names do
  call('HSET', KEYS[1], names[i], ARGV[i])
end
call('HSET', KEYS[1], 'state', 'armed', 'n', -1, 'opened', 0, 'joined', 0, 'front', 0, 'entries', 0, 'settled', 0,
  'claimed', 0, 'left', 0, 'lapsed', 0, 'holed', 0, 'inside', 0, 'took', 0, 'units', 0, 'passed', 0, 'over', 0,
  'rate', 0, 'reach', -1, 'limit', '', 'runner', '', 'runs', 0)
return 1

-- drop.lua: forgets the room, unless another generation has it.
--
-- takes    KEYS: 1 room; ARGV: 1 epoch
-- touches  room
-- returns  how many rooms it forgot

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])

-- transfer_settle.lua: what a living shard has to do with a lost one, before
-- that is rebuilt. What left the lost one and has not arrived here never will:
-- its numbers are used up. Changes of the stock that are under way end here.
--
-- takes    what transfer.lua gives; ARGV: 2 the lost shard, 3 the number from which
--          that will count what it sends from now on, 4 what names the rebuild
-- touches  moves
-- returns  sku, net and moves: field and value in turn; error FROZEN if a later
--          generation of the lost shard is known here

local field = 'in:' .. ARGV[2]
local number = last(field)
if number > tonumber(ARGV[3]) then
  return redis.error_reply('FROZEN a later generation of shard ' .. ARGV[2] .. ' is known')
end
call('HSET', KEYS[3], field, ARGV[3], 'restock', ARGV[4])
return { call('HGETALL', KEYS[2]), call('HGETALL', KEYS[4]), call('HGETALL', KEYS[3]) }

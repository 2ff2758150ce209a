-- transfer_look.lua: one shard at one instant.
--
-- takes    what transfer.lua gives; ARGV: 2 a SKU, or '' for all
-- touches  nothing
-- returns  sku, net and moves: field and value in turn

if ARGV[2] == '' then
  return { call('HGETALL', KEYS[2]), call('HGETALL', KEYS[4]), call('HGETALL', KEYS[3]) }
end
local text = call('HGET', KEYS[2], ARGV[2])
if not text then
  return redis.error_reply('FROZEN SKU ' .. ARGV[2] .. ' is not at the gate')
end
local moved = call('HGET', KEYS[4], ARGV[2])
return { { ARGV[2], text }, moved and { ARGV[2], moved } or {}, call('HGETALL', KEYS[3]) }

-- repair_begin.lua: step 1 of a rebuild: nobody else's may go on.
--
-- takes    KEYS as in create.lua, then what the new shard is laid down in until
--          it is whole: 11 sku, 12 buyers, 13 q1, 14 q2, 15 moves, 16 net, 17 q3;
--          ARGV: 1 the new epoch, 2 what names this rebuild
-- touches  sale, 11..17
-- returns  the clock's seconds and microseconds; error FROZEN if the shard is not
--          frozen, or an epoch as high is known here

local terms = redis.call('GET', KEYS[1])
if terms then
  local epoch = string.match(terms, '^frozen (%d+)') or string.match(terms, '^(%d+)')
  if tonumber(epoch) >= tonumber(ARGV[1]) then
    return redis.error_reply('FROZEN the gate has seen epoch ' .. epoch .. ', the rebuild is of ' .. ARGV[1])
  end
  if not string.match(terms, '^frozen ') then
    return redis.error_reply('FROZEN the shard is open in epoch ' .. epoch .. ': freeze it first')
  end
end
for i = 11, 17 do
  redis.call('UNLINK', KEYS[i])
end
redis.call('SET', KEYS[1], string.format('frozen %d %s', ARGV[1] - 1, ARGV[2]))
return redis.call('TIME')

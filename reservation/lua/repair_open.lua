-- repair_open.lua: step 3 of a rebuild: the new shard takes the old one's place,
-- all at once, and is open.
--
-- takes    KEYS as in repair_begin.lua; ARGV: 1 what that left in the terms'
--          place, 2 the new terms, then the lengths of the keys 11..17
-- touches  all but out
-- returns  1; error FROZEN if this rebuild is not the one under way, or what was
--          laid down is not all there

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FROZEN the shard is in other hands')
end
for i = 11, 17 do
  local length = i == 17 and 'ZCARD' or (i == 13 or i == 14) and 'LLEN' or 'HLEN'
  if redis.call(length, KEYS[i]) ~= tonumber(ARGV[i - 8]) then
    return redis.error_reply('FROZEN a part of what was laid down is gone')
  end
end
-- 11..17 in the order of the keys that they become.
local place = { 2, 3, 4, 5, 9, 10, 6 }
for i = 2, 10 do
  if i ~= 8 then -- the outbox is owed to the record, whatever becomes of the gate
    redis.call('UNLINK', KEYS[i])
  end
end
for i, at in ipairs(place) do
  if tonumber(ARGV[i + 2]) > 0 then
    redis.call('RENAME', KEYS[i + 10], KEYS[at])
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1

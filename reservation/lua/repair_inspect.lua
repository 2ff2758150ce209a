-- repair_inspect.lua: whether a shard is what its lease says.
--
-- takes    KEYS as in create.lua; ARGV: 1 epoch, 2 SKUs of the sale, 3 shards of the sale
-- touches  nothing
-- returns  '' if it is; else what it lacks: terms, epoch or keys, and how it is seen

local terms = redis.call('GET', KEYS[1])
if not terms then
  return 'terms they are gone'
end
if string.match(terms, '^frozen ') then
  return 'terms it is ' .. terms
end
local epoch = string.match(terms, '^%d+')
if epoch ~= ARGV[1] then
  return 'epoch it is of ' .. (epoch or '?')
end
if redis.call('HLEN', KEYS[2]) <= tonumber(ARGV[2]) or not redis.call('HGET', KEYS[2], 'seq') then
  return 'keys counters are gone'
end
if tonumber(ARGV[3]) > 1 and redis.call('HGET', KEYS[9], 'epoch') ~= epoch then
  return 'keys the journal is gone'
end
if redis.call('EXISTS', KEYS[3]) == 0 then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if all[i] ~= 'seq' and not string.match(all[i + 1], '^%d+ 0 0 0 %d+$') then
      return 'keys the buyers are gone'
    end
  end
end
return ''

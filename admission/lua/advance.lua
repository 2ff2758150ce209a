-- advance.lua: moves the front, and counts whose lease is over.
--
-- takes    ARGV: 1 epoch, 2 where the
--          caller believes the front to be, 3 where it is to be, 4 rate, 5 reach, 6
--          limit; what room.lua and log.lua give
-- touches  room, log, done, holes
-- returns  the head, and tickets given back before the opening whose places are to be
--          laid down by holes.lua before the front may move

local MOST_SPARE, MOST_SETTLED = 1000, 200

if state ~= 'open' then
  return head()
end
local spare = call('LRANGE', SPARE, 0, MOST_SPARE - 1)
if #spare > 0 then
  return head(unpack(spare))
end

-- Of an entry whose lease is over, all have lapsed who neither claimed nor left.
local gone, most = 0, settled + MOST_SETTLED
while settled < entries and settled < most do
  local at, upto = entry(settled + 1)
  if at + lease > now then
    break
  end
  local _, from = 0, 0
  if settled > 0 then
    _, from = entry(settled)
  end
  settled = settled + 1
  gone = gone + upto - from - tonumber(call('HGET', DONE, text(settled)) or 0)
end
if gone > 0 then
  call('HINCRBY', ROOM, 'lapsed', text(gone))
end

local to = math.min(tonumber(ARGV[3]), joined)
if front == tonumber(ARGV[2]) and to > front then
  entries = entries + 1
  call('HSET', LOG, text(entries), text(now) .. ' ' .. text(to))
  local left = call('ZCOUNT', HOLES, text(front), text(to - 1))
  if left > 0 then
    call('HSET', DONE, text(entries), left)
    call('HINCRBY', ROOM, 'holed', left)
    call('ZREMRANGEBYSCORE', HOLES, text(front), text(to - 1))
  end
  front = to
end
call('HSET', ROOM, 'front', text(front), 'entries', text(entries), 'settled', text(settled),
  'rate', ARGV[4], 'reach', ARGV[5], 'limit', ARGV[6])
return head()

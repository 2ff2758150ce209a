-- advance.lua: moves the front, and counts whose lease or admission is over.
--
-- takes    ARGV: 1 epoch, 2 where the
--          caller believes the front to be, 3 where it is to be, 4 rate, 5 reach, 6
--          limit, 7 who moves it ('': anybody) and 8 for how long nobody else may (ms);
--          what room.lua and log.lua give
-- touches  room, log, done, holes, claims
-- returns  the head, 1 (0: somebody else moves it, and nothing was done), and tickets
--          given back before the opening whose places are to be laid down by holes.lua
--          before the front may move

local MOST_SPARE, MOST_SETTLED = 1000, 200

if ARGV[7] ~= '' then
  local runner = call('HMGET', ROOM, 'runner', 'runs')
  if runner[1] ~= ARGV[7] and tonumber(runner[2]) > now then
    return head(0)
  end
  call('HSET', ROOM, 'runner', ARGV[7], 'runs', text(now + tonumber(ARGV[8])))
end

if state ~= 'open' then
  return head(1)
end
local spare = call('LRANGE', SPARE, 0, MOST_SPARE - 1)
if #spare > 0 then
  return head(1, unpack(spare))
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

-- Of a second of claims whose admissions are over, all have passed who took nothing.
local over = tonumber(call('HGET', ROOM, 'over'))
local last = math.min(floor((now - use) / 1000) - 1, over + MOST_SETTLED)
if last > over then
  local seconds, passed = {}, 0
  for second = over + 1, last do
    seconds[#seconds + 1] = text(second)
  end
  for _, still in ipairs(call('HMGET', CLAIMS, unpack(seconds))) do
    passed = passed + (tonumber(still or 0))
  end
  call('HDEL', CLAIMS, unpack(seconds))
  if passed > 0 then
    call('HINCRBY', ROOM, 'passed', text(passed))
    call('HINCRBY', ROOM, 'inside', text(-passed))
  end
  call('HSET', ROOM, 'over', text(last))
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
return head(1)

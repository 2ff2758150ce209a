-- room.lua: the room's terms and counters, the fence, the time of this call, and
-- the opening. Every script but arm.lua and drop.lua begins with it.
--
-- takes    KEYS, of every script the same: 1 room, 2 log, 3 done, 4 holes, 5 spare, 6
--          claims, 7 the bucket of the buyer, if there is one; ARGV: 1 epoch
-- touches  room, if its opening is due
-- gives    now (ms since the Unix epoch), state, n (-1 before the opening), joined,
--          front, opens, lease, use, entries, settled; head(), open()
-- returns  error LOST if the room is not here, or another generation of it

local call, floor, match = redis.call, math.floor, string.match
local ROOM, LOG, DONE, HOLES, SPARE, CLAIMS, WAITERS = unpack(KEYS)
local text = function(x) return string.format('%.0f', x) end

local r = call('HMGET', ROOM, 'epoch', 'state', 'n', 'joined', 'front', 'opens', 'lease', 'use', 'entries', 'settled')
if not r[1] then
  return redis.error_reply('LOST the waiting room is not here')
end
if r[1] ~= ARGV[1] then
  return redis.error_reply('LOST the waiting room is of epoch ' .. r[1] .. ', the caller of ' .. ARGV[1])
end
local state, n, joined, front = r[2], tonumber(r[3]), tonumber(r[4]), tonumber(r[5])
local opens, lease, use = tonumber(r[6]), tonumber(r[7]), tonumber(r[8])
local entries, settled = tonumber(r[9]), tonumber(r[10])

local clock = call('TIME') -- once: everything in this call happens at one instant
local now = clock[1] * 1000 + floor(clock[2] / 1000)

-- open fixes N. It happens once, because the state that it needs is gone with it.
local function open()
  state, n = 'open', joined
  call('HSET', ROOM, 'state', state, 'n', text(n), 'opened', text(now), 'over', text(floor(now / 1000) - 1))
end
if state == 'armed' and opens > 0 and now >= opens then
  open()
end

-- What each reply begins with; then come the answer's own parts.
local function head(...)
  return { now, state, n, joined, front, ... }
end

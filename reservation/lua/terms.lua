-- terms.lua: the sale's terms, the epoch fence and the time of this call.
--
-- takes    KEYS: 1 sale, 2 sku, 3 buyers, 4..7 the logs q1..q4, 8 out
--          ARGV: 1 epoch, 2 how many holds a reaper may end (0: no reaper; below
--          0: that many, and it looks for nothing but due ones),
--          3 number n of operations, 4 the most units of one hold if all SKUs of
--          the holds are named, else 0; below 0, that number, if other operations
--          are among them;
--          5 the units that the holds ask of each SKU named, 2 bytes each; then, if
--          4 is above 0, for each hold whose buyer has one before it in the call,
--          its place (from 0) and that of the buyer's first, 1 byte each,
--          6 n buyer keys, 8 bytes each, 7 n bodies, one behind the other (see
--          hold.lua and moves.lua), then the SKUs named, in decimal
-- touches  nothing
-- gives    now (ms since the engine's zero of time), limit, ttl, cap, accepting;
--          terms, for what only record.lua needs of it
-- returns  error FROZEN if the sale is not here, or another generation of it

local SALE, SKU, BUYERS, OUT = KEYS[1], KEYS[2], KEYS[3], KEYS[8]
local TIME_ZERO = 1735689600000 -- engine.TimeZero

local terms = call('GET', SALE)
if not terms then
  return redis.error_reply('FROZEN the sale is not at the gate')
end
local epoch, state, opens, closes, limit, ttl, cap = match(terms, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ')
if epoch ~= ARGV[1] then
  return redis.error_reply('FROZEN the gate is of epoch ' .. (epoch or '?') .. ', the caller of ' .. ARGV[1])
end
opens, closes, limit, ttl, cap = opens + 0, closes + 0, limit + 0, ttl + 0, cap + 0

local clock = call('TIME') -- once: everything in this call happens at one instant
local now = clock[1] * 1000 + floor(clock[2] / 1000) - TIME_ZERO

-- The rule of engine.Sale.Accepting. States: 1 armed, 2 open, 3 paused, 4 draining, 5 closed.
local accepting = (closes == 0 or now < closes)
  and (state == '2' or state == '1' and opens > 0 and now >= opens)

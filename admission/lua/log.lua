-- log.lua: when the front came to where.
--
-- takes    what room.lua gives
-- touches  nothing
-- gives    entry(number) → ms, front; reached(place) → the number of the entry by
--          which the front passed a place below it, and when; lapsed(number, ms)

local function entry(number)
  local at, upto = match(call('HGET', LOG, text(number)), '^(%d+) (%d+)$')
  return tonumber(at), tonumber(upto)
end

local function reached(place)
  local low, high = 1, entries
  while low < high do
    local mid = floor((low + high) / 2)
    local _, upto = entry(mid)
    if place < upto then
      high = mid
    else
      low = mid + 1
    end
  end
  return low, (entry(low))
end

-- What was settled stays so, even if the clock should step back.
local function lapsed(number, at)
  return number <= settled or at + lease <= now
end

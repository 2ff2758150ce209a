-- stock.lua: the counters of the SKUs, read once and written once per call.
--
-- takes    what reads.lua gives
-- touches  nothing yet; write.lua writes what changed
-- gives    stock[no] = {available, held, paying, sold, stock, field}, counters(no),
--          move(lines, first, last, from, to) -> units, fault; aside: whether the
--          units of all holds of this call are in held already

local AVAILABLE, HELD, PAYING, SOLD, STOCK, FIELD = 1, 2, 3, 4, 5, 6

local fault -- set: nothing is written, and this is the answer
local stock, touched = {}, {}

-- read_counters gives nil for no text. A negative counter is read as no number:
-- a move could hide it from the check at the end.
local function read_counters(text, field)
  if not text then
    return nil
  end
  local a, h, p, s, t = match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not a then
    fault = fault or 'CONSERVATION a SKU reads ' .. text
    return { 0, 0, 0, 0, 0, field }
  end
  return { a + 0, h + 0, p + 0, s + 0, t + 0, field }
end

-- Where all that the holds ask for is there, it is set aside at once, and what a
-- hold does not get is given back: whatever else the call does only adds to it.
local aside = accepting and most ~= 0
for i = 1, m do
  local c = read_counters(counted[i + 1], ARGV[no1 + i])
  stock[ARGV[no1 + i] + 0] = c
  local hi, lo = byte(sums, i + i - 1, i + i)
  aside = aside and c and c[AVAILABLE] >= hi * 256 + lo
end
for i = 1, aside and m or 0 do
  local no = ARGV[no1 + i] + 0
  local c = stock[no]
  local hi, lo = byte(sums, i + i - 1, i + i)
  local units = hi * 256 + lo
  c[AVAILABLE], c[HELD] = c[AVAILABLE] - units, c[HELD] + units
  touched[no] = c
end

-- counters gives a SKU's counters, reading them if this call has not yet.
local function counters(no)
  local c = stock[no]
  if not c then
    local field = decimal(no)
    c = read_counters(call('HGET', SKU, field), field)
    if not c then
      fault = fault or 'FROZEN SKU ' .. no .. ' is not at the gate'
      c = { 0, 0, 0, 0, 0, field }
    end
    stock[no] = c
  end
  return c
end

-- move shifts the units of the lines in bytes first..last between two counters.
local function move(lines, first, last, from, to)
  local sum = 0
  for j = first, last, 3 do
    local hi, lo, units = byte(lines, j, j + 2)
    local no = hi * 256 + lo
    local c = stock[no] or counters(no)
    c[from], c[to] = c[from] - units, c[to] + units
    touched[no] = c
    sum = sum + units
  end
  return sum
end

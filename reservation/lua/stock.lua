-- stock.lua: the counters of the SKUs, read once and written once per call.
--
-- takes    what reads.lua gives
-- touches  nothing yet; write.lua writes what changed
-- gives    stock[no] = {available, held, paying, sold, stock}, counters(no),
--          move(lines, first, from, to), fault

local AVAILABLE, HELD, PAYING, SOLD, STOCK = 1, 2, 3, 4, 5

local fault -- set: nothing is written, and this is the answer
local stock, touched = {}, {}

-- read_counters gives nil for no text. A negative counter is read as no number:
-- a move could hide it from the check at the end.
local function read_counters(text)
  if not text then
    return nil
  end
  local a, h, p, s, t = match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not a then
    fault = fault or 'CONSERVATION a SKU reads ' .. text
    return { 0, 0, 0, 0, 0 }
  end
  return { tonumber(a), tonumber(h), tonumber(p), tonumber(s), tonumber(t) }
end

for i = 1, m do
  stock[tonumber(ARGV[no1 + i])] = read_counters(counted[i + 1])
end

-- counters gives a SKU's counters, reading them if this call has not yet.
local function counters(no)
  local c = stock[no]
  if not c then
    c = read_counters(call('HGET', SKU, decimal(no)))
    if not c then
      fault = fault or 'FROZEN SKU ' .. no .. ' is not at the gate'
      c = { 0, 0, 0, 0, 0 }
    end
    stock[no] = c
  end
  return c
end

-- move shifts the units of the lines that begin at byte i between two counters.
local function move(lines, i, from, to)
  for j = i, #lines, 3 do
    local hi, lo, units = byte(lines, j, j + 2)
    local no = hi * 256 + lo
    local c = counters(no)
    c[from], c[to] = c[from] - units, c[to] + units
    touched[no] = c
  end
end

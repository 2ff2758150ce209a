-- record.lua: one field per buyer holds everything the gate knows of the buyer.
--
--   record = units1 hold*
--   hold   = nonce8 meta1 index1 (sku2 quantity1)+ created5 deadline5 seqbase5 [payment]
--   payment = fence8 attempts1 review5, present once a payment has begun
--   meta   = state * 32 + (payment present) * 16 + (lines - 1)
--
-- units is the buyer's exact count of held, paying and sold units. A hold's seq
-- is seqbase + index, so that the holds of one call can share their tail.
-- deadline is when a held one is due, also while it is paying; when a final one
-- ended. review is when a paying one is overdue for an answer.
--
-- takes    what reads.lua gives
-- touches  nothing yet; write.lua writes the records in `changed`
-- gives    text[buyer] (string or false), open(buyer) (parsed, settled),
--          change(buyer), image(hold)

local S_HELD, S_PAYING, S_ACCEPTED, S_RELEASED, S_EXPIRED = 1, 2, 3, 4, 5

local text, opened = {}, {}
local known = false -- whether any record was there
local changed, is_changed = {}, {}

for i = 1, n do
  local r = records[i]
  text[ARGV[buyer1 + i]] = r
  known = known or r
end

-- fetch reads the records of buyers first..last of a list in one command.
local function fetch(list, first, last)
  if first > last then
    return
  end
  local got = call('HMGET', BUYERS, unpack(list, first, last))
  for i = first, last do
    if text[list[i]] == nil then
      text[list[i]] = got[i - first + 1]
      known = known or text[list[i]]
    end
  end
end

local function change(buyer)
  if not is_changed[buyer] then
    is_changed[buyer] = true
    changed[#changed + 1] = buyer
  end
end

local function parse(buyer)
  local r = opened[buyer]
  if r then
    return r
  end
  if text[buyer] == nil then
    fetch({ buyer }, 1, 1)
  end
  r = { units = 0 }
  local s = text[buyer]
  if s then
    r.units = byte(s)
    local i = 2
    while i <= #s do
      local meta, index = byte(s, i + 8, i + 9)
      local j = i + 13 + 3 * (meta % 16)
      local h = {
        nonce = sub(s, i, i + 7),
        state = floor(meta / 32),
        lines = sub(s, i + 10, j - 1),
        created = sub(s, j, j + 4),
        deadline = unpack5(s, j + 5),
        seq = unpack5(s, j + 10) + index,
      }
      i = j + 15
      if floor(meta / 16) % 2 == 1 then
        h.fence, h.attempts, h.review = sub(s, i, i + 7), byte(s, i + 8), unpack5(s, i + 9)
        i = i + 14
      end
      r[#r + 1] = h
    end
  end
  opened[buyer] = r
  return r
end

local function image(h)
  local meta = h.state * 32 + #h.lines / 3 - 1
  local s = h.nonce
  local tail = h.lines .. h.created .. pack5(h.deadline) .. pack5(h.seq)
  if h.fence then
    return s .. char(meta + 16, 0) .. tail .. h.fence .. char(h.attempts) .. pack5(h.review)
  end
  return s .. char(meta, 0) .. tail
end

local function record(r)
  local parts = { char(r.units) }
  for i = 1, #r do
    parts[i + 1] = image(r[i])
  end
  return table.concat(parts)
end

local function units_of(lines, i)
  local sum = 0
  for j = i + 2, #lines, 3 do
    sum = sum + byte(lines, j)
  end
  return sum
end

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
-- Records are never taken apart: a table per hold costs more than all that is
-- done with it. A hold is where it begins in its record, and a change is a new
-- record around the bytes that change.
--
-- takes    what reads.lua gives
-- touches  nothing yet; write.lua writes the records that are others now
-- gives    text[buyer] (string or false) as the operations so far have left it;
--          fetch(list), fetched[], found[]; shape(meta) -> where its times begin and
--          where it ends, from its start; image(record, i), rewrite(...);
--          keep, max_attempts, lease, now5

local S_HELD, S_PAYING, S_ACCEPTED, S_RELEASED, S_EXPIRED = 1, 2, 3, 4, 5

local keep, max_attempts, lease = match(terms, '^%d+ %d+ %d+ %d+ %d+ %d+ %d+ (%d+) (%d+) (%d+) ')
keep, max_attempts, lease = keep + 0, max_attempts + 0, lease + 0

local text = {}
local known = false -- whether any record was there
local fetched, found = {}, {} -- buyers beside those of the call, and their records

for i = 1, n do
  local r = records[i]
  text[buyers[i]] = r
  known = known or r
end

-- fetch reads the records of buyers that the call has not seen yet.
local function fetch(list)
  if #list == 0 then
    return
  end
  local got = call('HMGET', BUYERS, unpack(list))
  for i = 1, #list do
    text[list[i]] = got[i]
    fetched[#fetched + 1], found[#found + 1] = list[i], got[i]
    known = known or got[i]
  end
end

-- shape gives how far a hold's times are from its first byte, and its size.
local function shape(meta)
  local times = 13 + meta % 16 * 3
  return times, times + (meta % 32 < 16 and 15 or 29)
end

-- image gives the bytes of the hold at i.
local function image(s, i)
  local _, size = shape(byte(s, i + 8))
  return sub(s, i, i + size - 1)
end

-- What a call changes shares a seqbase as long as the index fits a byte.
local now5 = pack5(now)
local base, base5 = seq + 1, pack5(seq + 1)
local function index_of_seq()
  if seq - base > 255 then
    base, base5 = seq, pack5(seq)
  end
  return seq - base
end

-- rewrite gives the record with the hold at i, whose times are at j, of another
-- meta and as of seq: front is what precedes its meta; ended (5 bytes) replaces
-- its deadline, unless nil.
local function rewrite(s, i, j, front, meta, ended)
  local index = index_of_seq()
  if ended then
    return front .. char(meta, index) .. sub(s, i + 10, j + 4) .. ended .. base5 .. sub(s, j + 15)
  end
  return front .. char(meta, index) .. sub(s, i + 10, j + 9) .. base5 .. sub(s, j + 15)
end

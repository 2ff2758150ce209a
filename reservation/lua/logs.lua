-- logs.lua: walking the expiry logs from their heads. A log is a list of
-- entries `time5 buyer8*`, about one per call, oldest first. Entries are hints:
-- each names buyers whose records are then read and judged. A lost or repeated
-- hint is harmless, a late one costs a delay.
--
--   q1 holds at their deadline        q3 the same, of deadlines that come in no order
--   q2 payments overdue for an answer q4 tombstones that may be forgotten
--
-- q3 is of holds that were extended or came back from a payment. One that is due
-- must not stand behind one that is not, so it is a sorted set: of one score, by
-- its bytes, which begin with the time. Each entry has one buyer.
--
-- takes    KEYS[4..7]
-- touches  nothing yet; write.lua cuts what was walked off the heads
-- gives    walk(q, budget, visit) -> budget left, whether nothing due is left;
--          cursors[q]

local Q_DUE, Q_REVIEW, Q_RETURNED, Q_PURGE = 4, 5, 6, 7
local CHUNK = 16
local cursors = {}

-- next_entry gives the head entry and where its unread buyers begin.
local function next_entry(q, c)
  if not c.chunk or c.at > #c.chunk then
    if c.chunk and #c.chunk < CHUNK then
      return nil
    end
    c.chunk, c.at = call(q == Q_RETURNED and 'ZRANGE' or 'LRANGE', KEYS[q], c.walked, c.walked + CHUNK - 1), 1
  end
  return c.chunk[c.at]
end

-- walk visits the buyers of due entries while the budget lasts. visit(buyer,
-- budget) returns how much of it was used and whether to stay at this buyer.
local function walk(q, budget, visit)
  local c = cursors[q]
  if not c then
    c = { walked = 0, from = 6 }
    cursors[q] = c
  end
  while true do
    local entry = next_entry(q, c)
    if not entry or unpack5(entry, 1) > now then
      return budget, true
    end
    local buyers, ahead = {}, {}
    for k = c.from, #entry, 8 do
      local b = sub(entry, k, k + 7)
      buyers[#buyers + 1] = b
      if text[b] == nil and #ahead < budget and #ahead < 256 then
        ahead[#ahead + 1] = b
      end
    end
    fetch(ahead)
    for i = 1, #buyers do
      if budget <= 0 then
        return 0, false
      end
      if text[buyers[i]] == nil then
        fetch({ buyers[i] })
      end
      local used, stay = visit(buyers[i], budget)
      budget = budget - used
      if stay then
        return budget, false
      end
      c.from = c.from + 8
    end
    c.walked, c.at, c.from = c.walked + 1, c.at + 1, 6
  end
end

local function visit_due(buyer, room)
  local s = text[buyer]
  if not s then
    return 1, false
  end
  local _, done, left = settle(buyer, s, room)
  return math.max(done, 1), left > 0
end

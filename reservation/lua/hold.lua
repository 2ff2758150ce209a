-- hold.lua: setting units aside, the whole cart or nothing.
--
-- takes    a body in the form of the record it makes:
--          units1 nonce8 meta1 index1 (sku2 quantity1)+, where index is the
--          operation's place in the call and units the sum of the quantities
-- touches  nothing yet; write.lua writes
-- gives    hold(buyer, body, index)
-- returns  k > 0: a new hold, whose seq is k above the seq before this call;
--          below 0: a refusal; a string: 1 and the hold that this nonce made

local R_SOLD_OUT, R_BUYER_LIMIT, R_NOT_OPEN, R_AGAIN = -1, -2, -3, -11
local RECLAIM = 256 -- holds that one call may expire for the sake of stock

local log_due, due = {}, 0 -- and how many they are
local reclaim_left, nothing_due = RECLAIM, false
local deadline = now + ttl
local due5 = pack5(deadline)
local times = now5 .. due5
local tail, tail_base

-- take moves the units of every line from available to held, or undoes it. Line
-- by line, so that one SKU in two lines is counted twice.
local function take(body)
  for j = 12, #body, 3 do
    local hi, lo, units = byte(body, j, j + 2)
    local no = hi * 256 + lo
    local c = stock[no] or counters(no)
    if c[AVAILABLE] < units then
      if j > 12 then
        move(body, 12, j - 1, HELD, AVAILABLE)
      end
      return false
    end
    c[AVAILABLE], c[HELD] = c[AVAILABLE] - units, c[HELD] + units
    touched[no] = c
  end
  return true
end

-- give_back returns what was set aside for a hold that is not made.
local function give_back(body)
  if aside then
    move(body, 12, #body, HELD, AVAILABLE)
  end
end

-- reclaim expires due holds, whosever, within this call's budget.
local function reclaim()
  local dry_due, dry_returned
  reclaim_left, dry_due = walk(Q_DUE, reclaim_left, visit_due)
  reclaim_left, dry_returned = walk(Q_RETURNED, reclaim_left, visit_due)
  nothing_due = dry_due and dry_returned
end

local function hold(buyer, body, index)
  local units, had = byte(body), 0
  local s, at
  if text[buyer] then
    s, at = open(buyer, sub(body, 2, 9))
    if at then
      give_back(body)
      return '1' .. image(s, at)
    end
    had = byte(s)
  end
  if not accepting then
    return R_NOT_OPEN
  end
  if units + had > limit then
    give_back(body)
    return R_BUYER_LIMIT
  end
  if not aside and not take(body) then
    if not nothing_due then
      reclaim()
    end
    if not take(body) then
      return nothing_due and R_SOLD_OUT or R_AGAIN
    end
    s = text[buyer] -- the reclaim may have changed it
  end
  seq = seq + 1
  due = due + 1
  log_due[due] = buyer
  if s then
    local i = index_of_seq()
    text[buyer] = char(byte(s) + units) .. sub(s, 2) .. sub(body, 2, 10) .. char(i) .. sub(body, 12) .. times .. base5
    return seq - seq_before
  end
  local from = seq - index
  if from < 0 then
    body, from = sub(body, 1, 10) .. '\0' .. sub(body, 12), seq
  end
  if from ~= tail_base then
    tail, tail_base = times .. pack5(from), from
  end
  text[buyer] = body .. tail
  return seq - seq_before
end

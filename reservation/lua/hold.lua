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

local log_due = {}
local reclaim_left, nothing_due = RECLAIM, false
local deadline = now + ttl
local times = pack5(now) .. pack5(deadline)
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
        move(sub(body, 1, j - 1), 12, HELD, AVAILABLE)
      end
      return false
    end
    c[AVAILABLE], c[HELD] = c[AVAILABLE] - units, c[HELD] + units
    touched[no] = c
  end
  return true
end

-- reclaim expires due holds, whosever, within this call's budget.
local function reclaim()
  local dry_due, dry_returned
  reclaim_left, dry_due = walk(Q_DUE, reclaim_left, visit_due)
  reclaim_left, dry_returned = walk(Q_RETURNED, reclaim_left, visit_due)
  nothing_due = dry_due and dry_returned
end

local function hold(buyer, body, index)
  local r
  if text[buyer] or opened[buyer] then
    r = open(buyer)
    local nonce = sub(body, 2, 9)
    for i = 1, #r do
      if r[i].nonce == nonce then
        return '1' .. image(r[i])
      end
    end
  end
  if not accepting then
    return R_NOT_OPEN
  end
  local units = byte(body)
  if units + (r and r.units or 0) > limit then
    return R_BUYER_LIMIT
  end
  if not take(body) then
    if not nothing_due then
      reclaim()
    end
    if not take(body) then
      return nothing_due and R_SOLD_OUT or R_AGAIN
    end
    r = opened[buyer] -- the reclaim may have opened it
  end
  seq = seq + 1
  log_due[#log_due + 1] = buyer
  change(buyer)
  if r then
    r.units = r.units + units
    r[#r + 1] = { nonce = sub(body, 2, 9), state = S_HELD, lines = sub(body, 12), created = pack5(now), deadline = deadline, seq = seq }
    return seq - seq_before
  end
  local base = seq - index
  if base < 0 then
    body, base = sub(body, 1, 10) .. '\0' .. sub(body, 12), seq
  end
  if base ~= tail_base then
    tail, tail_base = times .. pack5(base), base
  end
  text[buyer] = body .. tail
  return seq - seq_before
end

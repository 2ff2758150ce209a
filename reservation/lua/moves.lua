-- moves.lua: what happens to a hold that exists.
--
-- takes    a body: operation1 nonce8 created5 fence8 size3 event, where begin,
--          claim, return and bar have a fence, claim has an event, and extend has
--          a time5 where others have a fence
-- touches  nothing yet; write.lua writes
-- gives    decide(operation, buyer, first, index), where its body begins at byte
--          first of bodies; log_review, log_returned, events
-- returns  below 0: a refusal; a string: 0 (changed) or 1 (not) and the hold

local R_NOT_FOUND, R_EXPIRED, R_RELEASED, R_ATTEMPT, R_PAID, R_EXHAUSTED, R_PAYING = -4, -5, -6, -7, -8, -9, -10
local BEGIN, CLAIM, RETURN, RELEASE, BAR, EXTEND = 201, 202, 203, 204, 205, 206
local log_review, log_returned, events = {}, {}, {}
local review5 = pack5(now + lease)

-- gone answers for the states that no payment leaves.
local function gone(state)
  if state == S_EXPIRED then
    return R_EXPIRED
  end
  return R_RELEASED
end

-- changed_to writes a hold in another state, as the next decision.
local function changed_to(buyer, s, i, j, meta, ended)
  seq = seq + 1
  s = rewrite(s, i, j, sub(s, 1, i + 7), meta, ended)
  text[buyer] = s
  return '0' .. sub(s, i, j + (meta % 32 < 16 and 14 or 28))
end

-- given_back ends a hold, and says how.
local function given_back(buyer, s, i, from)
  s = finish(buyer, s, i, S_RELEASED, now5, from)
  text[buyer] = forget(s)
  return '0' .. image(s, i)
end

local function opposite(c)
  return char(255 - byte(c))
end

local function decide(operation, buyer, first, index)
  local s, i, meta, j = open(buyer, sub(bodies, first + 1, first + 8))
  if not i or sub(s, j, j + 4) ~= sub(bodies, first + 9, first + 13) then
    return R_NOT_FOUND -- or of an earlier life of this id
  end
  local state = floor(meta / 32)

  if operation == RELEASE then
    if state == S_PAYING then
      return R_PAYING
    elseif state == S_ACCEPTED then
      return R_PAID
    elseif state ~= S_HELD then
      return '1' .. image(s, i)
    end
    return given_back(buyer, s, i, HELD)
  end

  local fence = sub(bodies, first + 14, first + 21)

  if operation == EXTEND then
    local deadline5 = sub(fence, 1, 5)
    if state ~= S_HELD and state ~= S_PAYING or unpack5(deadline5, 1) <= unpack5(s, j + 5) then
      return '1' .. image(s, i) -- never shortened
    end
    if state == S_HELD then -- a paying one gets its entry when it returns
      log_returned[#log_returned + 1] = deadline5 .. buyer
    end
    return changed_to(buyer, s, i, j, meta, deadline5)
  end
  local paid_before = meta % 32 >= 16
  local same = paid_before and sub(s, j + 15, j + 22) == fence

  if operation == RETURN then
    if state ~= S_PAYING or not same then
      return '1' .. image(s, i)
    elseif unpack5(s, j + 5) <= now then
      return given_back(buyer, s, i, PAYING)
    end
    -- Its entry in q1 may be walked already if the clock has stepped back
    -- since, as it may at a failover: so it gets another.
    log_returned[#log_returned + 1] = sub(s, j + 5, j + 9) .. buyer
    move(s, i + 10, j - 1, PAYING, HELD)
    return changed_to(buyer, s, i, j, S_HELD * 32 + meta % 32)
  end

  if operation == BAR then
    if state ~= S_PAYING or not same then
      return '1' .. image(s, i)
    end
    s = sub(s, 1, j + 14) .. string.gsub(fence, '.', opposite) .. sub(s, j + 23)
    return changed_to(buyer, s, i, j, meta)
  end

  if state == S_ACCEPTED then
    return same and '1' .. image(s, i) or R_PAID
  elseif state ~= S_PAYING and state ~= S_HELD then
    return gone(state)
  elseif operation == BEGIN then
    if state == S_PAYING then
      return same and '1' .. image(s, i) or R_ATTEMPT
    end
    local attempts = paid_before and byte(s, j + 23) or 0
    if not same then
      if attempts >= max_attempts then
        return R_EXHAUSTED
      end
      attempts = attempts + 1
    end
    log_review[#log_review + 1] = buyer
    move(s, i + 10, j - 1, HELD, PAYING)
    local payment = fence .. char(attempts) .. review5
    if paid_before then
      s = sub(s, 1, j + 14) .. payment .. sub(s, j + 29)
    elseif j + 14 == #s then
      s = s .. payment
    else
      s = sub(s, 1, j + 14) .. payment .. sub(s, j + 15)
    end
    return changed_to(buyer, s, i, j, S_PAYING * 32 + 16 + meta % 16)
  elseif state == S_PAYING and same then -- CLAIM
    move(s, i + 10, j - 1, PAYING, SOLD)
    local id = sub(s, j, j + 4) .. buyer .. sub(s, i, i + 7)
    local answer = changed_to(buyer, s, i, j, S_ACCEPTED * 32 + meta % 32, now5)
    events[#events + 1] = { index = index, first = first + 25, id = id, seq = seq }
    return answer
  end
  return R_ATTEMPT
end

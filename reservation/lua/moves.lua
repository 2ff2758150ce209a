-- moves.lua: what happens to a hold that exists.
--
-- takes    a body: operation1 nonce8 created5, then for begin, claim and return
--          fence8, then for claim the event
-- touches  nothing yet; write.lua writes
-- gives    moves[operation](buyer, r, h, body, index); log_review, log_returned, events
-- returns  below 0: a refusal; a string: 0 (changed) or 1 (not) and the hold

local R_NOT_FOUND, R_EXPIRED, R_RELEASED, R_ATTEMPT, R_PAID, R_EXHAUSTED, R_PAYING = -4, -5, -6, -7, -8, -9, -10
local log_review, log_returned, events = {}, {}, {}

local function fence_of(body)
  return sub(body, 15, 22)
end

local function changed_hold(buyer, h, state)
  seq = seq + 1
  h.state, h.seq = state, seq
  change(buyer)
  return '0' .. image(h)
end

-- gone answers for the states that no payment leaves.
local function gone(h)
  if h.state == S_EXPIRED then
    return R_EXPIRED
  end
  return R_RELEASED
end

local moves = {}

moves[201] = function(buyer, r, h, body) -- begin a payment
  local fence = fence_of(body)
  if h.state == S_ACCEPTED then
    return h.fence == fence and '1' .. image(h) or R_PAID
  elseif h.state == S_PAYING then
    return h.fence == fence and '1' .. image(h) or R_ATTEMPT
  elseif h.state ~= S_HELD then
    return gone(h)
  end
  if h.fence ~= fence then
    if (h.attempts or 0) >= max_attempts then
      return R_EXHAUSTED
    end
    h.fence, h.attempts = fence, (h.attempts or 0) + 1
  end
  h.review = now + lease
  log_review[#log_review + 1] = buyer
  move(h.lines, 1, HELD, PAYING)
  return changed_hold(buyer, h, S_PAYING)
end

moves[202] = function(buyer, r, h, body, index) -- claim
  local fence = fence_of(body)
  if h.state == S_ACCEPTED then
    return h.fence == fence and '1' .. image(h) or R_PAID
  elseif h.state == S_PAYING and h.fence == fence then
    move(h.lines, 1, PAYING, SOLD)
    h.deadline = now
    local answer = changed_hold(buyer, h, S_ACCEPTED)
    events[#events + 1] = { index = index, payload = sub(body, 23), id = h.created .. buyer .. h.nonce, seq = seq }
    return answer
  elseif h.state == S_PAYING or h.state == S_HELD then
    return R_ATTEMPT
  end
  return gone(h)
end

moves[203] = function(buyer, r, h, body) -- return
  if h.state ~= S_PAYING or h.fence ~= fence_of(body) then
    return '1' .. image(h)
  end
  if h.deadline > now then
    -- Its entry in q1 may be walked already if the clock has stepped back
    -- since, as it may at a failover: so it gets another.
    log_returned[#log_returned + 1] = pack5(h.deadline) .. buyer
    move(h.lines, 1, PAYING, HELD)
    return changed_hold(buyer, h, S_HELD)
  end
  finish(buyer, r, h, S_RELEASED, now, PAYING)
  forget(r)
  return '0' .. image(h)
end

moves[204] = function(buyer, r, h) -- release
  if h.state == S_PAYING then
    return R_PAYING
  elseif h.state == S_ACCEPTED then
    return R_PAID
  elseif h.state ~= S_HELD then
    return '1' .. image(h)
  end
  finish(buyer, r, h, S_RELEASED, now, HELD)
  forget(r)
  return '0' .. image(h)
end

local function decide(buyer, body, index)
  local r = open(buyer)
  local nonce, created = sub(body, 2, 9), sub(body, 10, 14)
  for i = 1, #r do
    local h = r[i]
    if h.nonce == nonce and h.created == created then
      return moves[byte(body)](buyer, r, h, body, index)
    end
  end
  return R_NOT_FOUND
end

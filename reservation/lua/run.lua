-- run.lua: the operations in their order, or the reaper's round.
--
-- takes    what reads.lua gives
-- touches  nothing yet; write.lua writes
-- gives    reply: 1 now, 2 seq before, 3 deadline of new holds, 4 cap, 5 holds
--          expired, 6 whether a reaper has more to do, then n answers, then
--          the overdue holds as buyer8 hold. An answer is k > 0: a new hold,
--          whose seq is k above the one before this call; -(16 * k + r): refusal
--          r, judged when the seq was k above; or the text of hold.lua, moves.lua

local reply = { now, seq_before, deadline, cap, 0, 0, byte(who, 1, n) } -- of the right size at once
local answers = 6

-- dated says of a refusal after which decision it was made.
local function dated(answer)
  if type(answer) == 'number' and answer < 0 then
    return answer - 16 * (seq - seq_before)
  end
  return answer
end

local buyers, bodies, byte, sub = buyers, bodies, byte, sub -- nearer at hand: once per operation
local first = 1
local crowd = accepting and limit or 0 -- so many units a new buyer may have
for i = 1, n do
  local buyer, kind, answer = buyers[i], byte(bodies, first), nil
  if kind <= 200 then
    local last = first + 13 + byte(bodies, first + 9) % 16 * 3
    local body = sub(bodies, first, last)
    local at = seq + 1
    first = last + 1
    if kind <= crowd and text[buyer] == false and at > i and (aside or take(body)) then -- as hold.lua would
      if at - i + 1 ~= tail_base then
        tail_base = at - i + 1
        tail = times .. pack5(tail_base)
      end
      text[buyer] = body .. tail
      due = due + 1
      log_due[due] = buyer
      seq, answer = at, at - seq_before
    else
      answer = dated(hold(buyer, body, i - 1))
    end
  else
    answer = dated(decide(kind, buyer, first, i - 1))
    local hi, mid, lo = byte(bodies, first + 22, first + 24)
    first = first + 25 + (hi * 256 + mid) * 256 + lo
  end
  reply[answers + i] = answer
end

local budget = ARGV[2] + 0
if budget < 0 then -- units are looked for, so only what gives some back
  local a, b
  budget, a = walk(Q_DUE, -budget, visit_due)
  budget, b = walk(Q_RETURNED, budget, visit_due)
  reply[6] = a and b and 0 or 1
elseif budget > 0 then
  local function visit_review(buyer, room)
    local s, used = text[buyer], 0
    local i = 2
    while s and i <= #s do
      local meta = byte(s, i + 8)
      local times, size = shape(meta)
      if floor(meta / 32) == S_PAYING and unpack5(s, i + times + 24) <= now then
        if used >= room then
          return used, true
        end
        used = used + 1
        s = sub(s, 1, i + times + 23) .. review5 .. sub(s, i + size)
        log_review[#log_review + 1] = buyer
        text[buyer] = s
        reply[#reply + 1] = buyer .. image(s, i)
      end
      i = i + size
    end
    return math.max(used, 1), false
  end

  local function visit_purge(buyer)
    local s = text[buyer]
    local i = 2
    while s and i <= #s do
      local meta = byte(s, i + 8)
      local times, size = shape(meta)
      if meta >= S_RELEASED * 32 and unpack5(s, i + times + 5) + keep <= now then
        s = drop(s, i)
        text[buyer] = s
      else
        i = i + size
      end
    end
    return 1, false
  end

  -- Overdue payments first: a flood of expiries must not starve them.
  local a, b, c, d
  budget, a = walk(Q_REVIEW, budget, visit_review)
  budget, b = walk(Q_DUE, budget, visit_due)
  budget, c = walk(Q_RETURNED, budget, visit_due)
  budget, d = walk(Q_PURGE, budget, visit_purge)
  if not (a and b and c and d) then
    reply[6] = 1
  end
end
reply[5] = expired

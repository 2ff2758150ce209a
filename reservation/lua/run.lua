-- run.lua: the operations in their order, or the reaper's round.
--
-- takes    what reads.lua gives
-- touches  nothing yet; write.lua writes
-- gives    reply: 1 now, 2 seq before, 3 deadline of new holds, 4 cap, 5 holds
--          expired, 6 whether a reaper has more to do, then n answers, then
--          the overdue holds as buyer8 hold. An answer is k > 0: a new hold,
--          whose seq is k above the one before this call; -(16 * k + r): refusal
--          r, judged when the seq was k above; or the text of hold.lua, moves.lua

local reply = { now, seq_before, deadline, cap, 0, 0 }
local answers = 6

for i = 1, n do
  local buyer, body = ARGV[buyer1 + i], ARGV[body1 + i]
  local answer
  if byte(body) <= 200 then
    answer = hold(buyer, body, i - 1)
  else
    answer = decide(buyer, body, i - 1)
  end
  if type(answer) == 'number' and answer < 0 then
    answer = answer - 16 * (seq - seq_before) -- and after which decision
  end
  reply[answers + i] = answer
end

local function visit_review(buyer, room)
  local r, used = parse(buyer), 0
  for i = 1, #r do
    local h = r[i]
    if h.state == S_PAYING and h.review <= now then
      if used >= room then
        return used, true
      end
      used = used + 1
      h.review = now + lease
      log_review[#log_review + 1] = buyer
      change(buyer)
      reply[#reply + 1] = buyer .. image(h)
    end
  end
  return math.max(used, 1), false
end

local function visit_purge(buyer)
  local r = parse(buyer)
  for i = #r, 1, -1 do
    if r[i].state >= S_RELEASED and r[i].deadline + keep <= now then
      table.remove(r, i)
      change(buyer)
    end
  end
  return 1, false
end

local budget = tonumber(ARGV[2])
if budget < 0 then -- units are looked for, so only what gives some back
  local a, b
  budget, a = walk(Q_DUE, -budget, visit_due)
  budget, b = walk(Q_RETURNED, budget, visit_due)
  reply[6] = a and b and 0 or 1
elseif budget > 0 then
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

-- settle.lua: what the clock does. Whoever opens a buyer's record first expires
-- what is due in it, so every decision sees the truth of this instant, however
-- late a reaper runs.
--
-- takes    nothing of its own
-- touches  nothing yet; write.lua writes
-- gives    finish(buyer, r, h, state, at, from), settle(buyer, r, room) -> holds
--          expired and holds left due, open(buyer), expired (count),
--          log_tombstone[]

local MAX_TOMBSTONES = 16
local expired = 0
local log_tombstone = {}

-- forget drops a buyer's oldest tombstones beyond the most that are kept. Those
-- made in this very millisecond stay, so that no two lives share one id.
local function forget(r)
  local count, this = 0, pack5(now)
  for i = 1, #r do
    if r[i].state >= S_RELEASED then
      count = count + 1
    end
  end
  while count > MAX_TOMBSTONES do
    local oldest
    for i = 1, #r do
      local h = r[i]
      if h.state >= S_RELEASED and h.created < this and (not oldest or h.deadline < r[oldest].deadline) then
        oldest = i
      end
    end
    if not oldest then
      return
    end
    table.remove(r, oldest)
    count = count - 1
  end
end

-- finish gives a hold's units back and leaves a tombstone.
local function finish(buyer, r, h, state, at, from)
  move(h.lines, 1, from, AVAILABLE)
  r.units = r.units - units_of(h.lines, 1)
  seq = seq + 1
  h.state, h.deadline, h.seq = state, at, seq
  log_tombstone[#log_tombstone + 1] = buyer
  change(buyer)
end

-- settle expires at most room due holds of a buyer.
local function settle(buyer, r, room)
  local done, left = 0, 0
  for i = 1, #r do
    local h = r[i]
    if h.state == S_HELD and h.deadline <= now then
      if done < room then
        finish(buyer, r, h, S_EXPIRED, h.deadline, HELD)
        done = done + 1
      else
        left = left + 1
      end
    end
  end
  if done > 0 then
    expired = expired + done
    forget(r)
  end
  return done, left
end

local function open(buyer)
  local r = parse(buyer)
  settle(buyer, r, 1000) -- more than a buyer can have
  return r
end

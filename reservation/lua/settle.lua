-- settle.lua: what the clock does. Whoever opens a buyer's record first expires
-- what is due in it, so every decision sees the truth of this instant, however
-- late a reaper runs.
--
-- takes    nothing of its own
-- touches  nothing yet; write.lua writes
-- gives    finish(buyer, record, i, state, ended, from) -> record,
--          settle(buyer, record, room) -> record, holds expired, holds left due;
--          open(buyer, nonce) -> record (or false), where the hold of this nonce
--          begins (or nil), its meta and where its times begin; forget(record) -> record, expired (count), log_tombstone[]

local MAX_TOMBSTONES = 16
local expired = 0
local log_tombstone = {}

-- drop gives the record without the hold at i.
local function drop(s, i)
  local _, size = shape(byte(s, i + 8))
  return sub(s, 1, i - 1) .. sub(s, i + size)
end

-- forget drops a buyer's oldest tombstones beyond the most that are kept. Those
-- made in this very millisecond stay, so that no two lives share one id.
local function forget(s)
  if #s <= MAX_TOMBSTONES * 28 then -- too short for more of them
    return s
  end
  local count, oldest, since = 0, nil, nil
  local i = 2
  while i <= #s do
    local meta = byte(s, i + 8)
    local times, size = shape(meta)
    if meta >= S_RELEASED * 32 then
      count = count + 1
      local ended = unpack5(s, i + times + 5)
      if unpack5(s, i + times) < now and (not oldest or ended < since) then
        oldest, since = i, ended
      end
    end
    i = i + size
  end
  if count > MAX_TOMBSTONES and oldest then
    return forget(drop(s, oldest))
  end
  return s
end

-- finish gives a hold's units back and leaves a tombstone.
local function finish(buyer, s, i, state, ended, from)
  local meta = byte(s, i + 8)
  local j = i + shape(meta)
  local units = byte(s) - move(s, i + 10, j - 1, from, AVAILABLE)
  if units < 0 then
    fault, units = fault or format('CONSERVATION a buyer has %d units', units), 0
  end
  seq = seq + 1
  log_tombstone[#log_tombstone + 1] = buyer
  return rewrite(s, i, j, char(units) .. sub(s, 2, i + 7), state * 32 + meta % 32, ended)
end

-- settle expires at most room due holds of a buyer.
local function settle(buyer, s, room)
  local done, left = 0, 0
  local i = 2
  while i <= #s do
    local meta = byte(s, i + 8)
    local times, size = shape(meta)
    if meta < S_PAYING * 32 and unpack5(s, i + times + 5) <= now then
      if done < room then
        s = finish(buyer, s, i, S_EXPIRED, nil, HELD)
        done = done + 1
      else
        left = left + 1
      end
    end
    i = i + size
  end
  if done > 0 then
    expired = expired + done
    s = forget(s)
    text[buyer] = s
  end
  return s, done, left
end

local function open(buyer, nonce)
  local s = text[buyer]
  if not s then
    return false
  end
  local at, kind, times, due = look(s, nonce)
  if due then
    settle(buyer, s, 1000) -- more than a buyer can have
    return open(buyer, nonce)
  end
  return s, at, kind, times
end

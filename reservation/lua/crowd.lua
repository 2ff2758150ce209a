-- crowd.lua: a call of nothing but holds, whose units are all there. It is decided
-- here, before any of the machinery below is set up: what a hold costs in a sale's
-- first second is what it costs here. Most are by buyers of whom the gate knows
-- nothing; a buyer it knows gets a look and an answer, and keeps nobody else from
-- the short way.
--
-- takes    what reads.lua gives; the sums, the most and who is there again are trusted
-- touches  buyers, sku, q1
-- gives    look(record, nonce) -> where the hold of this nonce begins (or nil), its
--          meta and where its times begin, and whether any hold is due. Nonces that
--          end with the same five bytes are of one admission, which makes one hold
-- returns  1 now, 2 seq before, 3 deadline of new holds, 4 cap, 5: 0, 6: -1, then
--          for each operation that is no new hold its place in the call (from 0)
--          and its answer, as in run.lua: the others are new holds, each one seq
--          after the one before. Goes on if this is no such call

local function look(s, nonce)
  nonce = sub(nonce, 4)
  local at, kind, times, due
  local i, size = 2, #s
  while i <= size do
    local meta = byte(s, i + 8)
    local j = i + 13 + meta % 16 * 3
    if meta < 64 and unpack5(s, j + 5) <= now then -- held
      due = true
    end
    if sub(s, i + 3, i + 7) == nonce then
      at, kind, times = i, meta, j
    end
    i = j + (meta % 32 < 16 and 15 or 29)
  end
  return at, kind, times, due
end

do
  local crowd = accepting and most > 0
  local fields = { 'seq', byte(sums, 1, m + m + 1) } -- of the right size at once
  for i = 1, crowd and m or 0 do
    local a, h, rest, p, s, t = match(counted[i + 1] or '', '^(%d+) (%d+)( (%d+) (%d+) (%d+))$')
    local hi, lo = byte(sums, i + i - 1, i + i)
    if not a then -- what is wrong with a SKU, the part that finds it again says
      crowd = false
      break
    end
    local units, left, held = hi * 256 + lo, a + 0, h + 0
    if left < units or left + held + p + s ~= t + 0 then
      crowd = false
      break
    end
    fields[i + i + 1], fields[i + i + 2] = ARGV[no1 + i], format('%d %d', left - units, held + units) .. rest
  end

  local deadline = now + ttl
  local due5 = pack5(deadline)
  local times = pack5(now) .. due5
  local base = seq + 1 -- of the holds made here: a hold's seq is that and its place
  local tail = times .. pack5(base)
  local new, k = crowd and { byte(who, 1, n + n) }, 0 -- of the right size, too
  local some_known, more, log, from, back = false, nil, nil, 1, nil
  local reply = { now, seq, deadline, cap, 0, -1 }
  local again, next_again = { byte(sums, m + m + 1, -1) }, 1
  local i, first, one_line = 1, 1, #bodies == n * 14 -- each, as none is shorter
  local began = crowd
  while crowd do
    -- New buyers, up to one who is not or may not be.
    local plain = most <= limit and (again[next_again] or n) or 0
    while i <= plain and not records[i] do
      local last = first + 13
      if not one_line then
        last = last + byte(bodies, first + 9) % 16 * 3
      end
      local s = sub(bodies, first, last) .. tail
      records[i], new[k + 1], new[k + 2] = s, buyers[i], s
      i, k, first = i + 1, k + 2, last + 1
    end
    if i > n then
      break
    end

    -- One whose record has to be looked at, in the call or at the gate.
    local place, last, answer = i, first + 13 + byte(bodies, first + 9) % 16 * 3, nil
    some_known = some_known or records[i]
    if again[next_again] == i - 1 then
      place, next_again = again[next_again + 1] + 1, next_again + 2
    end
    local s, units, had = records[place], byte(bodies, first), 0
    if s then
      local at, kind, j, due = look(s, sub(bodies, first + 1, first + 8))
      if due then
        crowd = false
      end
      had = byte(s)
      answer = at and '1' .. sub(s, at, j + (kind % 32 < 16 and 14 or 28))
    end
    if not answer and units + had > limit then
      answer = R_BUYER_LIMIT - 16 * (base + i - 2 - seq) -- as of the holds made so far
    end
    if answer then -- and no hold: those behind move up, its units go back
      base = base - 1
      if base < 0 then
        crowd = false
      else
        tail = times .. pack5(base)
      end
      back, log = back or {}, log or {}
      for l = first + 11, last, 3 do
        local hi, lo, units = byte(bodies, l, l + 2)
        local no = hi * 256 + lo
        back[no] = (back[no] or 0) + units
      end
      log[#log + 1] = sub(who, from, i * 8 - 8)
      from = i * 8 + 1
      reply[#reply + 1] = i - 1
      reply[#reply + 1] = answer
    elseif s then
      more = more or {}
      s = char(had + units) .. sub(s, 2) .. sub(bodies, first + 1, last) .. tail
      records[place], more[#more + 1], more[#more + 2] = s, buyers[i], s
    else
      s = sub(bodies, first, last) .. tail
      records[place], new[k + 1], new[k + 2] = s, buyers[i], s
      k = k + 2
    end
    i, first = i + 1, last + 1
  end

  -- Nobody known after decisions: write.lua finds out whether that can be.
  if crowd and seq > 0 and not some_known and call('EXISTS', BUYERS) == 0 then
    crowd = false
  end
  -- A buyer is there twice, though the call says otherwise: undone.
  if crowd and k > 0 and call('HSET', BUYERS, unpack(new, 1, k)) ~= k / 2 then
    for i = 1, k, 2 do
      call('HDEL', BUYERS, new[i])
    end
    crowd = false
  end
  if crowd then
    if more then
      call('HSET', BUYERS, unpack(more))
    end
    local last = base + n - 1
    if last > seq then
      fields[2] = decimal(last)
      for i = 1, back and m or 0 do
        local units = back[ARGV[no1 + i] + 0]
        if units then
          local a, h, rest = match(fields[i + i + 2], '^(%d+) (%d+)(.*)$')
          fields[i + i + 2] = format('%d %d', a + units, h - units) .. rest
        end
      end
      call('HSET', SKU, unpack(fields))
      if log then
        log[#log + 1] = sub(who, from)
        who = table.concat(log)
      end
      call('RPUSH', KEYS[4], due5 .. who)
    end
    return reply
  elseif began then -- some of what was read has become what would have been written
    records = call('HMGET', BUYERS, unpack(buyers))
  end
end

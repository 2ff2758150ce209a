-- fresh.lua: the crowd. A call that holds nothing but holds of covered SKUs by
-- buyers of whom the gate knows nothing is decided here, before any of the
-- machinery below is set up: what a hold costs in a sale's first second is what
-- it costs here.
--
-- takes    what reads.lua gives; the sums and the most are trusted
-- touches  buyers, sku, q1
-- returns  1 now, 2 seq before, 3 deadline of new holds, 4 cap, 5 and 6 0: every
--          hold was made, each one seq after the one before; goes on if this is
--          no such call

do
  local fresh = accepting and most > 0 and most <= limit
  for i = 1, n do
    if records[i] then
      fresh = false
      break
    end
  end
  -- Nobody known after decisions: write.lua finds out whether that can be.
  if fresh and seq > 0 and call('EXISTS', BUYERS) == 0 then
    fresh = false
  end

  local fields = fresh and { 'seq', decimal(seq + n) }
  for i = 1, fresh and m or 0 do
    local a, h, p, s, t = match(counted[i + 1] or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    local hi, lo = byte(sums, i + i - 1, i + i)
    if not a then -- what is wrong with a SKU, the part that finds it again says
      fresh = false
      break
    end
    local units, left, held = hi * 256 + lo, a + 0, h + 0
    if left < units or left + held + p + s ~= t + 0 then
      fresh = false
      break
    end
    fields[i + i + 1] = ARGV[no1 + i]
    fields[i + i + 2] = format('%d %d ', left - units, held + units) .. p .. ' ' .. s .. ' ' .. t
  end

  if fresh then
    local deadline = now + ttl
    local due = pack5(deadline)
    local tail = pack5(now) .. due .. pack5(seq + 1)
    local set, first = { byte(who, 1, n + n) }, 1
    local one_line = #bodies == n * 14 -- each, as none is shorter
    for i = 1, n do
      local last = first + 13
      if not one_line then
        last = last + byte(bodies, first + 9) % 16 * 3
      end
      set[i + i - 1], set[i + i] = buyers[i], sub(bodies, first, last) .. tail
      first = last + 1
    end
    if call('HSET', BUYERS, unpack(set)) == n then
      call('HSET', SKU, unpack(fields))
      call('RPUSH', KEYS[4], due .. who)
      return { now, seq, deadline, cap, 0, 0 }
    end
    -- A buyer is there twice, though the call says otherwise: undone.
    call('HDEL', BUYERS, unpack(buyers))
  end
end

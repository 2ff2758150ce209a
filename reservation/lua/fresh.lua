-- fresh.lua: the crowd. A call that holds nothing but holds by buyers of whom
-- the gate knows nothing, and for which no expired stock need be looked for, is
-- decided here, in its order, before any of the machinery below is set up: what
-- a hold costs in a sale's first second is what it costs here.
--
-- takes    what reads.lua gives; the sums of ARGV are trusted
-- touches  buyers, sku, q1
-- returns  1 now, 2 seq before, 3 deadline of new holds, 4 cap, 5 and 6 0, then
--          nothing if every hold was made, each one seq after the one before,
--          else n answers as in run.lua; goes on if this is no such call

-- One buyer twice in a call is another matter: the second may be a repeat of
-- the first, so such a call goes on too, whatever was written is undone.

do
  local fresh = most > 0 and accepting
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

  local counters, covered = {}, most <= limit -- available, held, the rest as text
  if fresh then
    for i = 1, m do
      local a, h, rest, p, s, t = match(counted[i + 1] or '', '^(%d+) (%d+)( (%d+) (%d+) (%d+))$')
      if not a then
        fresh = false -- the part that finds it says what is wrong
        break
      end
      a, h = a + 0, h + 0
      if a + h + p + s ~= t + 0 then
        fresh = false
        break
      end
      local k = i * 3
      counters[k - 2], counters[k - 1], counters[k] = a, h, rest
      covered = covered and a >= ARGV[sum1 + i] + 0
    end
  end

  local deadline = now + ttl
  local times = pack5(now) .. pack5(deadline)
  local reply = { now, seq, deadline, cap, 0, 0 }
  local made, set, buyers, taken = n, { unpack(ARGV, buyer1 + 1, body1 + n) }, ARGV, ARGV
  local first, last, sums = buyer1 + 1, body1, sum1
  if fresh and covered then
    local tail = times .. pack5(seq + 1)
    for i = 1, n do
      set[i + i - 1], set[i + i] = ARGV[buyer1 + i], ARGV[body1 + i] .. tail
    end
  elseif fresh then
    made, buyers, taken, first, sums = 0, {}, {}, 1, 0
    local left, refused, nothing_due = {}, {}, nil
    for i = 1, m do
      left[tonumber(ARGV[no1 + i])] = counters[i * 3 - 2]
    end
    local tail, tail_base
    for i = 1, n do
      local buyer, body = ARGV[buyer1 + i], ARGV[body1 + i]
      local code = byte(body) > limit and 2 or 0
      for j = 12, code == 0 and #body or 0, 3 do
        local hi, lo, units = byte(body, j, j + 2)
        local no = hi * 256 + lo
        local rest = left[no] - units
        if rest < 0 then
          code = 1
          for u = 12, j - 1, 3 do -- the lines before it are given back
            hi, lo, units = byte(body, u, u + 2)
            no = hi * 256 + lo
            left[no] = left[no] + units
          end
          break
        end
        left[no] = rest
      end
      if code == 0 then
        made = made + 1
        local base = seq + made - i + 1
        if base < 0 then
          body, base = sub(body, 1, 10) .. '\0' .. sub(body, 12), seq + made
        end
        if base ~= tail_base then
          tail, tail_base = times .. pack5(base), base
        end
        buyers[made], set[made + made - 1], set[made + made] = buyer, buyer, body .. tail
        reply[6 + i] = made
      else
        refused[buyer] = true
        reply[6 + i] = -16 * made - code
        if code == 1 and nothing_due == nil then
          nothing_due = true
          for q = 4, 6, 2 do
            local head = call('LINDEX', KEYS[q], 0)
            nothing_due = nothing_due and not (head and unpack5(head, 1) <= now)
          end
          fresh = nothing_due
        end
      end
    end
    for i = 1, made do
      if refused[buyers[i]] then
        fresh = false
      end
    end
    for i = 1, m do
      taken[i] = counters[i * 3 - 2] - left[tonumber(ARGV[no1 + i])]
    end
    last = made
  end

  if fresh and made == 0 then
    return reply
  end
  if fresh and call('HSET', BUYERS, unpack(set, 1, made + made)) == made then
    local fields = { 'seq', decimal(seq + made) }
    for i = 1, m do
      local k, units = i * 3, taken[sums + i]
      fields[i + i + 1] = ARGV[no1 + i]
      fields[i + i + 2] = format('%d %d%s', counters[k - 2] - units, counters[k - 1] + units, counters[k])
    end
    call('HSET', SKU, unpack(fields))
    call('RPUSH', KEYS[4], pack5(deadline) .. table.concat(buyers, '', first, last))
    return reply
  elseif fresh then
    call('HDEL', BUYERS, unpack(buyers, first, last))
  end
end

-- write.lua: everything is checked, then written. Lua has no roll-back, so
-- nothing is written before this part and nothing can refuse after its checks.
--
-- takes    what the parts before it gathered
-- touches  buyers, sku, q1..q4, out
-- returns  the reply of run.lua, an answer to a claim with the id of its outbox
--          entry behind the hold; error CONSERVATION if the counters of a SKU
--          do not add up; error FROZEN if a key has vanished

for no, c in pairs(stock) do
  local a, h, p, s = c[AVAILABLE], c[HELD], c[PAYING], c[SOLD]
  if a + h + p + s ~= c[STOCK] or a < 0 or h < 0 or p < 0 or s < 0 then
    fault = fault or format('CONSERVATION SKU %d: available %d, held %d, paying %d, sold %d of stock %d', no, a, h, p, s, c[STOCK])
  end
end

-- Nobody is known here, after decisions were made: either all is forgotten or
-- the records were lost. Units that are set aside tell which.
if n > 0 and not known and seq_before > 0 and call('EXISTS', BUYERS) == 0 then
  local all = call('HGETALL', SKU)
  for i = 1, #all, 2 do
    local c = all[i] ~= 'seq' and read_counters(all[i + 1])
    if c and c[HELD] + c[PAYING] + c[SOLD] > 0 then
      fault = 'FROZEN the buyers are not at the gate'
    end
  end
end
if fault then
  return redis.error_reply(fault)
end

-- in_parts gives a command's arguments in numbers that fit Lua's stack.
local function in_parts(command, key, list)
  local last = #list
  for i = 1, last, 512 do
    call(command, key, unpack(list, i, math.min(i + 511, last)))
  end
end

local set, gone_buyers, k = {}, {}, 0
for _, list in ipairs({ { buyers, records }, { fetched, found } }) do
  local who, were = list[1], list[2]
  for i = 1, #who do
    local b = who[i]
    local s = text[b]
    if s ~= were[i] then
      if #s == 1 then
        gone_buyers[#gone_buyers + 1] = b
      else
        set[k + 1], set[k + 2] = b, s
        k = k + 2
      end
    end
  end
end
in_parts('HSET', BUYERS, set)
in_parts('HDEL', BUYERS, gone_buyers)

if seq ~= seq_before then
  local fields = { 'seq', decimal(seq) }
  for _, c in pairs(touched) do
    local k = #fields
    fields[k + 1] = c[FIELD]
    fields[k + 2] = format('%d %d %d %d %d', c[AVAILABLE], c[HELD], c[PAYING], c[SOLD], c[STOCK])
  end
  in_parts('HSET', SKU, fields)
end

for q, c in pairs(cursors) do
  if c.walked > 0 and q == Q_RETURNED then
    call('ZREMRANGEBYRANK', KEYS[q], 0, c.walked - 1)
  elseif c.walked > 0 then
    call('LTRIM', KEYS[q], c.walked, -1)
  end
  if c.from > 6 then
    local entry = c.chunk[c.at]
    call('LSET', KEYS[q], 0, sub(entry, 1, 5) .. sub(entry, c.from))
  end
end

local function log(q, at5, list)
  for i = 1, #list, 256 do
    call('RPUSH', KEYS[q], at5 .. table.concat(list, '', i, math.min(i + 255, #list)))
  end
end
log(Q_DUE, due5, log_due)
log(Q_REVIEW, review5, log_review)
log(Q_PURGE, pack5(now + keep), log_tombstone)
for i = 1, #log_returned, 256 do
  local scored = {}
  for j = i, math.min(i + 255, #log_returned) do
    scored[#scored + 1] = 0
    scored[#scored + 1] = log_returned[j]
  end
  call('ZADD', KEYS[Q_RETURNED], unpack(scored))
end

local moment = #events > 0 and decimal(now)
for i = 1, #events do
  local e = events[i]
  local hi, mid, lo = byte(bodies, e.first - 3, e.first - 1)
  local event = sub(bodies, e.first, e.first + (hi * 256 + mid) * 256 + lo - 1)
  local id = call('XADD', OUT, '*', 'e', event, 'i', e.id, 'g', epoch, 's', decimal(e.seq), 't', moment)
  local k = answers + e.index + 1
  reply[k] = reply[k] .. id
end
return reply

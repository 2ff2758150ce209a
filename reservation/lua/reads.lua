-- reads.lua: the counters and the records that the call names, one command each.
-- A string that Lua makes costs more than most of what is done with it, so the
-- buyers and the bodies come as one argument each and are cut up when needed.
--
-- takes    ARGV as in terms.lua
-- touches  nothing
-- gives    n operations; m SKUs named; no1, where their list begins in ARGV, less
--          one; most, sums, who, bodies; buyers[i]; counted (seq and the counters,
--          as text); records[i] (text or false); seq, the last one given; seq_before
-- returns  error FROZEN if the counters are gone

local n, most, sums, who, bodies = ARGV[3] + 0, ARGV[4] + 0, ARGV[5], ARGV[6], ARGV[7]
local no1, m = 7, #ARGV - 7

local counted = call('HMGET', SKU, 'seq', unpack(ARGV, no1 + 1))
local seq = tonumber(counted[1] or nil)
if not seq then
  return redis.error_reply('FROZEN the counters are not at the gate')
end
local seq_before = seq
local buyers, records = { byte(who, 1, n) }, {} -- of the right size at once
for i = 1, n do
  buyers[i] = sub(who, i * 8 - 7, i * 8)
end
if n > 0 then
  records = call('HMGET', BUYERS, unpack(buyers))
end

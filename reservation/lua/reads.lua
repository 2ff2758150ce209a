-- reads.lua: the counters and the records that the call names, one command each.
--
-- takes    ARGV as in terms.lua
-- touches  nothing
-- gives    n, m, most; no1, sum1, buyer1, body1: where each list begins in ARGV,
--          less one; counted (seq and the counters, as text); records[i] (text
--          or false); seq, the last one given; seq_before
-- returns  error FROZEN if the counters are gone

local n, m, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local no1, sum1 = 5, 5 + m
local buyer1 = sum1 + m
local body1 = buyer1 + n

local counted = call('HMGET', SKU, 'seq', unpack(ARGV, no1 + 1, sum1))
local seq = tonumber(counted[1] or nil)
if not seq then
  return redis.error_reply('FROZEN the counters are not at the gate')
end
local seq_before = seq
local records = n > 0 and call('HMGET', BUYERS, unpack(ARGV, buyer1 + 1, body1)) or {}

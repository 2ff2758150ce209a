-- transfer.lua: what the scripts of the shards share. A transfer moves units of
-- one SKU from one shard to another in three calls: depart at the source, arrive
-- at the destination, close at the source. Each pair of shards numbers its
-- transfers 1, 2, 3, … and has at most one of them open, so that one number on
-- either side is all that exactly-once needs, and nothing has to be purged.
--
--   moves  hash   epoch       the generation it belongs to
--                 out:<to>    number, and while it is open ' sku units token'
--                 in:<from>   number of the last one that arrived
--                 restock     who may change the shard's allotment
--   net    hash   SKU → units departed less units arrived, when some last arrived
--
-- stock + net is what the shard was allotted: transfers do not change it, so its
-- sum over the shards is the sale's stock whenever each of them is read.
--
-- takes    KEYS: 1 sale, 2 sku, 3 moves, 4 net; ARGV: 1 epoch, the rest per script
-- touches  nothing
-- gives    terms, counters(no) -> {a, h, p, s, stock} or nil and an error,
--          shift(no, counters, units), net(no) -> units, arrived,
--          last(field) -> number, sku, units (nil unless open), token; clock()
-- returns  error FROZEN or CONSERVATION

local call = redis.call
local terms = call('GET', KEYS[1])
if not terms or call('EXISTS', KEYS[2]) == 0 then
  return redis.error_reply('FROZEN the sale is not at the gate')
end
if string.match(terms, '^%d+') ~= ARGV[1] then
  return redis.error_reply('FROZEN another epoch of the sale is at the gate')
end
-- A journal that was lost would number its transfers from 1 again.
if call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FROZEN the journal of the shard is not at the gate')
end

local function counters(no)
  local text = call('HGET', KEYS[2], no)
  if not text then
    return nil, redis.error_reply('FROZEN SKU ' .. no .. ' is not at the gate')
  end
  local a, h, p, s, stock = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not a or a + h + p + s ~= tonumber(stock) then
    return nil, redis.error_reply('CONSERVATION SKU ' .. no .. ': ' .. text)
  end
  return { tonumber(a), tonumber(h), tonumber(p), tonumber(s), tonumber(stock) }
end

-- shift adds units to what is available, and to the stock with it.
local function shift(no, c, units)
  call('HSET', KEYS[2], no, string.format('%d %d %d %d %d', c[1] + units, c[2], c[3], c[4], c[5] + units))
end

local function net(no)
  local units, arrived = string.match(call('HGET', KEYS[4], no) or '0 0', '^(%-?%d+) (%d+)$')
  return tonumber(units), tonumber(arrived)
end

local function last(field)
  local number, sku, units, token = string.match(call('HGET', KEYS[3], field) or '0', '^(%d+) ?(%d*) ?(%d*) ?(%w*)$')
  return tonumber(number), sku, tonumber(units), token
end

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

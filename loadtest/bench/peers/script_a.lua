-- Script A: what everyone writes. One call per reservation, a hash each.
--
-- KEYS[1]  hash of the reservation
-- KEYS[2]  hash buyer → units, for the limit per buyer
-- KEYS[3]  units left of the SKU
-- KEYS[4]  sorted set reservation → deadline, for the expiry
-- ARGV     reservation id, buyer, quantity, limit per buyer, life in milliseconds
--
-- Returns {1, units left, deadline}, {0, 0, 0} if sold out, {-1, 0, 0} beyond the limit.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local quantity, limit = tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('HINCRBY', KEYS[2], ARGV[2], quantity) > limit then
  redis.call('HINCRBY', KEYS[2], ARGV[2], -quantity)
  return {-1, 0, 0}
end
local left = redis.call('DECRBY', KEYS[3], quantity)
if left < 0 then
  redis.call('INCRBY', KEYS[3], quantity)
  redis.call('HINCRBY', KEYS[2], ARGV[2], -quantity)
  return {0, 0, 0}
end
local deadline = now + ARGV[5]
redis.call('HSET', KEYS[1], 'buyer', ARGV[2], 'quantity', quantity, 'state', 'held', 'expires', deadline)
redis.call('ZADD', KEYS[4], deadline, ARGV[1])
return {1, left, deadline}

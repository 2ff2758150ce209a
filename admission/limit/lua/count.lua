-- count.lua: one key of a limit, as the time at which its bucket is full again.
--
-- takes    KEYS: 1 the key; ARGV: 1 requests that would come in, 2 requests to be
--          counted whatever the limit (below 0: taken back), 3 microseconds until one
--          comes back, 4 microseconds for all to come back
-- touches  the key, a string: microseconds since the Unix epoch. It expires when
--          the bucket is full, because then it says nothing.
-- returns  how many of 1 are within the limit, and the microseconds until it is full
--
-- A clock that stepped back leaves a bucket at most empty, never emptier than that.

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local asked, told, each, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now))
full = math.max(now, math.min(full + told * each, now + burst))
local within = math.min(asked, math.floor((now + burst - full) / each))
full = full + within * each
if full > now then
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', math.ceil((full - now) / 1000)))
else
  redis.call('DEL', KEYS[1])
end
return {within, full - now}

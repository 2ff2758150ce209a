-- bytes.lua: five-byte times and numbers, big-endian as in the engine's ids.
--
-- takes    nothing
-- touches  nothing
-- gives    pack5(n), unpack5(s, i), decimal(n)

local byte, char, sub, format, match, floor =
  string.byte, string.char, string.sub, string.format, string.match, math.floor
local call = redis.call

local function pack5(n)
  local low = n % 4294967296
  return char(floor(n / 4294967296), floor(low / 16777216), floor(low / 65536) % 256,
    floor(low / 256) % 256, low % 256)
end

local function unpack5(s, i)
  local a, b, c, d, e = byte(s, i, i + 4)
  return (((a * 256 + b) * 256 + c) * 256 + d) * 256 + e
end

-- Numbers go to Redis as text that never turns into 1e+14.
local function decimal(n)
  return format('%d', n)
end

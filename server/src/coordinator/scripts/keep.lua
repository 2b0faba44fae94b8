-- Keeps a sealed value, unless what is there is newer, or over.
-- KEYS: kept. ARGV: version, value, life ms.
-- Gives: what is there instead; nothing if the value was taken.
local held = redis.call('GET', KEYS[1])
if held then
  local version, value = string.match(held, '^(%d+) (.*)$')
  if held == '' or (version and tonumber(version) > tonumber(ARGV[1])) then
    return value or ''
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return false

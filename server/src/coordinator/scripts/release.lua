-- Leads no longer, and needs nothing; who waits hears of it.
-- KEYS: lease, needs. ARGV: epoch, window ms, letters, key prefix, user, record.
redis.call('HDEL', KEYS[2], ARGV[1])
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^(%S+) ') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  local clock = redis.call('TIME')
  local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
  local instances = {}
  for _, epoch in ipairs(redis.call('HKEYS', KEYS[2])) do
    instances[string.match(epoch, '^(.*)%-%d+$')] = true
  end
  instances[string.match(ARGV[1], '^(.*)%-%d+$')] = nil
  for instance in pairs(instances) do
    local inbox = ARGV[4] .. ':inbox:' .. instance
    redis.call('XADD', inbox, 'MAXLEN', '~', ARGV[3], '*', 'u', ARGV[5], 'a', now, 'r', ARGV[6])
    redis.call('PEXPIRE', inbox, ARGV[2])
  end
end
return redis.status_reply('OK')

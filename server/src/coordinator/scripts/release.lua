-- Leads no longer, and needs nothing. KEYS: lease, needs. ARGV: epoch.
redis.call('HDEL', KEYS[2], ARGV[1])
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^(%S+) ') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return redis.status_reply('OK')

-- Leads a user's channels if nobody else does, and tells what this life needs.
-- KEYS: lease, needs. ARGV: epoch, needs as JSON, lease ms, window ms, letters, key prefix, user, news (0 or 1), record.
-- Gives: now, fence or nothing, then for all other lives whether they have claimed within a lease (0 or 1), and needs.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local epoch, window = ARGV[1], tonumber(ARGV[4])
local others, instances = {}, {}
local all = redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  local told, needs = string.match(all[at + 1], '^(%d+) (.*)$')
  if now - tonumber(told) > window * 1000 then
    redis.call('HDEL', KEYS[2], all[at])
  elseif all[at] ~= epoch then
    local lives = now - tonumber(told) <= tonumber(ARGV[3]) * 1000
    others[#others + 1] = (lives and '1 ' or '0 ') .. needs
    instances[string.match(all[at], '^(.*)%-%d+$')] = true
  end
end
redis.call('HSET', KEYS[2], epoch, string.format('%.0f %s', now, ARGV[2]))
redis.call('PEXPIRE', KEYS[2], window)
if ARGV[8] == '1' then
  instances[string.match(epoch, '^(.*)%-%d+$')] = nil
  for instance in pairs(instances) do
    local inbox = ARGV[6] .. ':inbox:' .. instance
    redis.call('XADD', inbox, 'MAXLEN', '~', ARGV[5], '*', 'u', ARGV[7], 'a', string.format('%.0f', now), 'r', ARGV[9])
    redis.call('PEXPIRE', inbox, window)
  end
end
local fence = ''
local held = redis.call('GET', KEYS[1])
if not held then
  fence = string.format('%.0f', now)
  redis.call('SET', KEYS[1], epoch .. ' ' .. fence, 'PX', ARGV[3])
else
  local holder, last = string.match(held, '^(%S+) (%d+)$')
  if holder == epoch then
    fence = last
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
end
return { string.format('%.0f', now), fence, unpack(others) }

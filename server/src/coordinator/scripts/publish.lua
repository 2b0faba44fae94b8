-- Shares a record with a user's other instances; with an epoch only if that one leads with this fence.
-- KEYS: lease, needs. ARGV: epoch, fence, window ms, letters, key prefix, user, record.
-- Gives: now, or nothing if another leads.
local epoch, fence = ARGV[1], ARGV[2]
if epoch ~= '' and redis.call('GET', KEYS[1]) ~= epoch .. ' ' .. fence then
  return false
end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local window = tonumber(ARGV[3])
local instances = {}
local all = redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  local told = string.match(all[at + 1], '^(%d+) ')
  if now - tonumber(told) <= window * 1000 then
    instances[string.match(all[at], '^(.*)%-%d+$')] = true
  end
end
if epoch ~= '' then
  instances[string.match(epoch, '^(.*)%-%d+$')] = nil
end
for instance in pairs(instances) do
  local inbox = ARGV[5] .. ':inbox:' .. instance
  redis.call('XADD', inbox, 'MAXLEN', '~', ARGV[4], '*', 'u', ARGV[6], 'a', string.format('%.0f', now), 'r', ARGV[7])
  redis.call('PEXPIRE', inbox, window)
end
return string.format('%.0f', now)

-- One commit or one delete: compares and sets in one step (DESIGN §3 rule 8). Its only write is its last command, so an error
-- that a server replies means that nothing was written.
--
-- KEYS[1]  the record
-- KEYS[2]  the checkpoint of its partition, in the same slot; for the checkpoint itself the same key
-- ARGV[1]  what the writer thinks is there: incarnation, number and write id of the record (24 bytes), or '' for nothing
-- ARGV[2]  the new record: header (state.EncodeEnvelope) and value
-- ARGV[3]  '' for a commit; for a delete how many milliseconds its mark stays
--
-- Returns 1: written. A header: this very write is there already. {header or '', epoch or ''}: refused; the record's header
-- and the checkpoint's epoch, as they are.

local head = redis.call('GETRANGE', KEYS[1], 0, 33)
local fence = redis.call('GETRANGE', KEYS[2], 18, 25)
local base, new, ttl = ARGV[1], ARGV[2], ARGV[3]
local alive, id = false, ''

if head ~= '' then
  local format, flags = string.byte(head, 1, 2)
  if #head < 34 or format ~= 1 or flags > 1 then
    return redis.error_reply('CORRUPT the key holds no record that this version of Hongyan can read')
  end
  alive = flags == 0
  id = string.sub(head, 3, 18) .. string.sub(head, 27, 34)
end

-- Refused because it is there already is a success. Its header is written once more, since WAIT promises something of this
-- connection's own writes only, and the first one may have come over another (Redis 7.0 in fact waits for everybody's).
local found
if ttl == '' then
  found = alive and string.sub(head, 27, 34) == string.sub(new, 27, 34)
else
  found = head ~= '' and not alive and id == base
end
if found then
  redis.call('SETRANGE', KEYS[1], 0, head)
  return head
end

-- Epochs are compared as two halves: Lua's numbers hold 53 bits, and its strings are ordered by the server's locale. Most often
-- they are equal.
local function higher(epoch, than)
  if epoch == than or #epoch < 8 then
    return false
  end
  local high, low = struct.unpack('>I4I4', epoch)
  local thanHigh, thanLow = struct.unpack('>I4I4', than)
  return high > thanHigh or (high == thanHigh and low > thanLow)
end

local writer = string.sub(new, 19, 26)
if higher(string.sub(head, 19, 26), writer) or higher(fence, writer) then
  return {head, fence}
end

if base == '' then
  if alive then
    return {head, fence}
  end
elseif not alive or id ~= base then
  return {head, fence}
end

if ttl == '' then
  redis.call('SET', KEYS[1], new)
else
  redis.call('SET', KEYS[1], new, 'PX', ttl)
end
return 1

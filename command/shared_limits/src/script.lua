-- The counts of rate limits that several nodes share. One call decides one request under all limits that bind it: it counts
-- against all of them or, if one has too little left, against none.
--
-- KEYS: 1 the marker of the group, 2 until when each node is live, 3 and on: a hash for each limit.
-- ARGV: 1 `count` or `put`, 2 the node, 3 the node's turn, 4 the marker that the node expects ('' if none), 5 a marker to use
-- if there is none, 6 how long a node is live after its last call: its running requests count as long, 7 how long a key is kept
-- (both in microseconds), 8 `1` if requests of the node are running that it counted before, then the counts by limit. Those of
-- `count` begin with `1` if Redis must still have something of what the node has counted of that limit.
--
-- A limit's hash has, for each measure m and node n, the window `w:m:n` (below), `r:n`, the running requests of n, and `t:n`
-- and `s:n`, the turn and the number of n's last `put`. A node counts in its own fields alone, so that it can write them again
-- as a whole: after that they are exact, whatever became of earlier calls. The fields of a node that is not live go with its
-- last window.
--
-- A window is a packed string: the sum, then for each bucket its number (the node's own), the time of its newest count, and its
-- amount, oldest bucket first. A bucket leaves as a whole.
--
-- The reply: a word, the marker, the server's time, then three numbers for each count: the amount counted, how long until that is
-- less, and how long until the request fits (0: it fits, -1: nobody knows, -2: never).

local WORD, ENTRY = 8, 24
local seconds = redis.call('TIME')
local NOW = seconds[1] * 1000000 + seconds[2]
local OP, NODE, TURN, EXPECTED, CANDIDATE = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local RUNNING_KEPT, KEEP, HAS_RUNNING = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'

local cursor = 8
local function word()
  cursor = cursor + 1
  return ARGV[cursor]
end
local function number()
  return tonumber(word())
end
local function text(value)
  return string.format('%.0f', value)
end

local function bucket_at(window, at)
  return struct.unpack('>ddd', window, at)
end

local function sum_of(window)
  return (struct.unpack('>d', window))
end

-- The window, in which nothing was counted later than now. The server's clock may have been set back, or another server, whose clock is
-- behind, has taken over: what was counted before then stays for one window more at most.
local function counted_by_now(window)
  if #window == WORD then return window end
  local _, newest = bucket_at(window, #window - ENTRY + 1)
  if newest <= NOW then return window end
  local packed = { window:sub(1, WORD) }
  for at = WORD + 1, #window, ENTRY do
    local bucket, counted, amount = bucket_at(window, at)
    packed[#packed + 1] = struct.pack('>ddd', bucket, math.min(counted, NOW), amount)
  end
  return table.concat(packed)
end

-- The window without the buckets that have left, and without empty ones at its beginning.
local function pruned(window, kept)
  local at, sum = WORD + 1, sum_of(window)
  while at <= #window do
    local _, newest, amount = bucket_at(window, at)
    if amount > 0 and newest + kept > NOW then break end
    sum = sum - amount
    at = at + ENTRY
  end
  if at == WORD + 1 then return window end
  return struct.pack('>d', sum) .. window:sub(at)
end

-- Where the bucket of this number is, or would be, and whether it is there. Counts come nearly in order, so it looks from the end.
local function find(window, bucket)
  local at = #window - ENTRY + 1
  while at > WORD do
    local known = bucket_at(window, at)
    if known == bucket then return at, true end
    if known < bucket then break end
    at = at - ENTRY
  end
  return at + ENTRY, false
end

local function with_count(window, bucket, amount)
  local at, found = find(window, bucket)
  local newest, counted, rest = NOW, amount, at
  if found then
    local _, before, known = bucket_at(window, at)
    newest, counted, rest = math.max(NOW, before), known + amount, at + ENTRY
  end
  return struct.pack('>d', sum_of(window) + amount) .. window:sub(WORD + 1, at - 1)
    .. struct.pack('>ddd', bucket, newest, counted) .. window:sub(rest)
end

-- A bucket that has left needs no correction.
local function with_correction(window, bucket, delta)
  local at, found = find(window, bucket)
  if not found then return window end
  local _, newest, amount = bucket_at(window, at)
  local corrected = math.max(amount + delta, 0)
  return struct.pack('>d', sum_of(window) + corrected - amount) .. window:sub(WORD + 1, at - 1)
    .. struct.pack('>ddd', bucket, newest, corrected) .. window:sub(at + ENTRY)
end

-- How long until at most `room` is counted in all windows, or less than now if `room` is as much as is counted.
local function wait_until(windows, kept, counted, room)
  local leaving = {}
  for _, window in pairs(windows) do
    for at = WORD + 1, #window, ENTRY do
      local _, newest, amount = bucket_at(window, at)
      if amount > 0 then leaving[#leaving + 1] = { newest + kept, amount } end
    end
  end
  table.sort(leaving, function(a, b) return a[1] < b[1] end)
  for _, bucket in ipairs(leaving) do
    counted = counted - bucket[2]
    if counted <= room then return math.max(bucket[1] - NOW, 0) end
  end
  return 0
end

-- How long until the oldest bucket leaves; 0 if there is none. `pruned` leaves no empty one at the beginning.
local function oldest_leaves(windows, kept)
  local first
  for _, window in pairs(windows) do
    if #window > WORD then
      local _, newest = bucket_at(window, WORD + 1)
      if not first or newest < first then first = newest end
    end
  end
  return first and math.max(first + kept - NOW, 0) or 0
end

local function fields_of(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for at = 1, #flat, 2 do fields[flat[at]] = flat[at + 1] end
  return fields
end

local EMPTY = struct.pack('>d', 0)

-- The windows of all nodes for a measure, by field, without what has left; writes back what it changes.
local function windows_of(key, fields, measure, kept)
  local prefix, windows = 'w:' .. measure .. ':', {}
  for field, window in pairs(fields) do
    if field:sub(1, #prefix) == prefix then
      local rest = pruned(counted_by_now(window), kept)
      if rest ~= window then
        if #rest == WORD then redis.call('HDEL', key, field) else redis.call('HSET', key, field, rest) end
        fields[field] = rest
      end
      windows[field] = rest
    end
  end
  return windows
end

-- The running requests of the nodes that are live; those of others are forgotten.
local function running_of(key, fields, live)
  local running = 0
  for field, count in pairs(fields) do
    if field:sub(1, 2) == 'r:' then
      if live[field:sub(3)] then running = running + tonumber(count) else redis.call('HDEL', key, field) end
    end
  end
  return running
end

-- Forgets the turns of nodes that are not live and have nothing left in a window.
local function forget_nodes(key, fields, live)
  for field in pairs(fields) do
    local node = field:sub(3)
    if field:sub(1, 2) == 't:' and not live[node] then
      local has_window = false
      for other, window in pairs(fields) do
        if other:sub(1, 2) == 'w:' and other:sub(-#node - 1) == ':' .. node and #window > WORD then has_window = true end
      end
      if not has_window then redis.call('HDEL', key, field, 's:' .. node, 'r:' .. node) end
    end
  end
end

local marker = redis.call('GET', KEYS[1])
if not marker then
  if OP == 'count' and EXPECTED ~= '' then return { 'lost', '' } end
  marker = CANDIDATE
  redis.call('SET', KEYS[1], marker)
elseif OP == 'count' and EXPECTED ~= '' and EXPECTED ~= marker then
  return { 'lost', marker }
end
redis.call('PEXPIRE', KEYS[1], text(KEEP / 1000))

local limits = {}
for at = 3, #KEYS do
  limits[at] = fields_of(KEYS[at])
  if tonumber(limits[at]['t:' .. NODE] or 0) > TURN then return { 'superseded', marker } end
end

-- What a node had running is not counted any more when it is not live.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(NOW))
local is_known = redis.call('ZSCORE', KEYS[2], NODE)
if OP == 'count' and HAS_RUNNING and not is_known then return { 'lost', marker } end
redis.call('ZADD', KEYS[2], text(NOW + RUNNING_KEPT), NODE)
redis.call('PEXPIRE', KEYS[2], text(KEEP / 1000))
local live, scores = {}, redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for at = 1, #scores, 2 do
  live[scores[at]] = true
  -- As with windows, if the clock was set back.
  if tonumber(scores[at + 1]) > NOW + RUNNING_KEPT then
    redis.call('ZADD', KEYS[2], text(NOW + RUNNING_KEPT), scores[at])
  end
end

if OP == 'put' then
  for at = 3, #KEYS do
    local key, fields = KEYS[at], limits[at]
    local put, running, measures = number(), number(), number()
    local is_newer = tonumber(fields['t:' .. NODE] or 0) < TURN or tonumber(fields['s:' .. NODE] or 0) < put
    if is_newer then
      redis.call('HSET', key, 't:' .. NODE, text(TURN), 's:' .. NODE, text(put), 'r:' .. NODE, text(running))
    end
    for _ = 1, measures do
      local measure, buckets, sum, packed = word(), number(), 0, {}
      for _ = 1, buckets do
        local bucket, age, amount = number(), number(), number()
        sum = sum + amount
        packed[#packed + 1] = struct.pack('>ddd', bucket, NOW - age, amount)
      end
      if is_newer then redis.call('HSET', key, 'w:' .. measure .. ':' .. NODE, struct.pack('>d', sum) .. table.concat(packed)) end
    end
    redis.call('PEXPIRE', key, text(KEEP / 1000))
  end
  return { 'counted', marker, text(NOW) }
end

-- First what is known of earlier requests, then this one.
local counts = {}
for at = 3, #KEYS do
  local key, fields = KEYS[at], limits[at]
  -- The key was dropped, though the node still counts on it.
  if word() == '1' and not fields['t:' .. NODE] then return { 'lost', marker } end
  if tonumber(fields['t:' .. NODE] or -1) < TURN then redis.call('HSET', key, 't:' .. NODE, text(TURN)) end
  for _ = 1, number() do
    local measure, bucket, delta = word(), number(), number()
    if measure == 'concurrent_requests' then
      local field = 'r:' .. NODE
      fields[field] = text(math.max(tonumber(fields[field] or 0) + delta, 0))
      redis.call('HSET', key, field, fields[field])
    else
      local field = 'w:' .. measure .. ':' .. NODE
      if fields[field] then
        fields[field] = with_correction(fields[field], bucket, delta)
        redis.call('HSET', key, field, fields[field])
      end
    end
  end
  for _ = 1, number() do
    counts[#counts + 1] =
      { key = key, fields = fields, measure = word(), kept = number(), bound = number(), amount = number(), bucket = number() }
  end
end

local word_of_reply = 'counted'
for _, count in ipairs(counts) do
  if count.measure == 'concurrent_requests' then
    count.counted = running_of(count.key, count.fields, live)
    count.wait = count.counted + count.amount > count.bound and -1 or 0
    count.more_in = -1
  else
    count.windows, count.counted, count.wait = windows_of(count.key, count.fields, count.measure, count.kept), 0, 0
    for _, window in pairs(count.windows) do count.counted = count.counted + sum_of(window) end
    if count.amount > count.bound then
      count.wait = -2
    elseif count.counted + count.amount > count.bound then
      count.wait = wait_until(count.windows, count.kept, count.counted, count.bound - count.amount)
      -- What leaves now has left: a wait of zero would say that it fits.
      if count.wait == 0 then count.wait = 1 end
    end
  end
  if count.wait ~= 0 then word_of_reply = 'refused' end
end
for at = 3, #KEYS do forget_nodes(KEYS[at], limits[at], live) end

local reply = { word_of_reply, marker, text(NOW) }
for _, count in ipairs(counts) do
  if word_of_reply == 'counted' then
    if count.measure == 'concurrent_requests' then
      redis.call('HINCRBY', count.key, 'r:' .. NODE, text(count.amount))
    else
      local field = 'w:' .. count.measure .. ':' .. NODE
      count.windows[field] = with_count(count.windows[field] or EMPTY, count.bucket, count.amount)
      redis.call('HSET', count.key, field, count.windows[field])
    end
    count.counted = count.counted + count.amount
  end
  if count.windows then
    if count.counted > count.bound then
      count.more_in = wait_until(count.windows, count.kept, count.counted, count.bound - 1)
    else
      count.more_in = oldest_leaves(count.windows, count.kept)
    end
  end
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = text(count.counted), text(count.more_in), text(count.wait)
end
for at = 3, #KEYS do redis.call('PEXPIRE', KEYS[at], text(KEEP / 1000)) end
return reply

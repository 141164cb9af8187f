-- The counts of rate limits that several nodes share. One call decides one request under all limits that bind it: it counts
-- against all of them or, if one has too little left, against none.
--
-- KEYS: 1 until when each node is live, 2 and on: a hash for each limit.
-- ARGV: 1 the node, 2 how long a node is live after its last call: its running requests count as long, 3 how long a key is kept
-- (both in microseconds). Then for each limit: the number of the state that Redis has of the node, `1` and that state if it is sent
-- with this call (`0` if not), the corrections of earlier requests, and the counts.
--
-- A limit's hash has, for each measure m and node n, the window `w:m:n` (below), `r:n`, the running requests of n, and `t:n`, the
-- number of the last state that n has sent. A node counts in its own fields alone, so that it can write them again as a whole:
-- after that they are exact, whatever became of earlier calls. A call that goes by another state than the one that is here changes
-- nothing: it is late, or Redis has lost something. The fields of a node that is not live go with its last window.
--
-- A window is a packed string: the sum, then for each bucket its number (the node's own), the time of its newest count, and its
-- amount, oldest bucket first. A bucket leaves as a whole.
--
-- The reply: `unknown` if nothing was done, because another state is here than the node thinks, or, in a call without limits, because
-- the node was not live. Otherwise `counted` or `refused`, the server's time, then three numbers for each count: the amount counted,
-- how long until that is less, and how long until the request fits (0: it fits, -1: nobody knows, -2: never).

local WORD, ENTRY = 8, 24
local seconds = redis.call('TIME')
local NOW = seconds[1] * 1000000 + seconds[2]
local NODE, RUNNING_KEPT, KEEP = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local cursor = 3
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

-- The running requests of the nodes that are live.
local function running_of(fields, live)
  local running = 0
  for field, count in pairs(fields) do
    if field:sub(1, 2) == 'r:' and live[field:sub(3)] then running = running + tonumber(count) end
  end
  return running
end

-- Forgets nodes that are not live and have nothing left in a window.
local function forget_nodes(key, fields, live)
  for field in pairs(fields) do
    local node = field:sub(3)
    if field:sub(1, 2) == 't:' and not live[node] then
      local has_window = false
      for other, window in pairs(fields) do
        if other:sub(1, 2) == 'w:' and other:sub(-#node - 1) == ':' .. node and #window > WORD then has_window = true end
      end
      if not has_window then redis.call('HDEL', key, field, 'r:' .. node) end
    end
  end
end

-- What a node counts of a limit, all of it.
local function read_state()
  local state = { running = number(), windows = {} }
  for _ = 1, number() do
    local measure, buckets, sum, packed = word(), number(), 0, {}
    for _ = 1, buckets do
      local bucket, age, amount = number(), number(), number()
      sum = sum + amount
      packed[#packed + 1] = struct.pack('>ddd', bucket, NOW - age, amount)
    end
    if buckets > 0 then state.windows[measure] = struct.pack('>d', sum) .. table.concat(packed) end
  end
  return state
end

local function put(limit, name, value)
  limit.fields[name] = value
  redis.call('HSET', limit.key, name, value)
end

-- Replaces all that the node had in a limit.
local function put_state(limit)
  for field in pairs(limit.fields) do
    if field:sub(1, 2) == 'w:' and field:sub(-#NODE - 1) == ':' .. NODE then
      redis.call('HDEL', limit.key, field)
      limit.fields[field] = nil
    end
  end
  put(limit, 't:' .. NODE, text(limit.number))
  put(limit, 'r:' .. NODE, text(limit.state.running))
  for measure, window in pairs(limit.state.windows) do put(limit, 'w:' .. measure .. ':' .. NODE, window) end
end

local limits = {}
for at = 2, #KEYS do
  local limit = { key = KEYS[at], fields = fields_of(KEYS[at]), number = number(), corrections = {}, counts = {} }
  if word() == '1' then limit.state = read_state() end
  for nth = 1, number() do limit.corrections[nth] = { measure = word(), bucket = number(), delta = number() } end
  for nth = 1, number() do
    limit.counts[nth] = { measure = word(), kept = number(), bound = number(), amount = number(), bucket = number() }
  end
  local known = tonumber(limit.fields['t:' .. NODE] or 0)
  if known ~= limit.number and not (limit.state and known < limit.number) then return { 'unknown' } end
  if known == limit.number then limit.state = nil end
  limits[#limits + 1] = limit
end

-- What a node had running is not counted any more when it is not live.
local live_until = redis.call('ZSCORE', KEYS[1], NODE)
local was_live = live_until and tonumber(live_until) > NOW
-- The first write: a server whose memory is full refuses it, and lets a script that has written something go on.
redis.call('ZADD', KEYS[1], text(NOW + RUNNING_KEPT), NODE)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(NOW))
redis.call('PEXPIRE', KEYS[1], text(KEEP / 1000))
if #limits == 0 then return { was_live and 'counted' or 'unknown', text(NOW) } end
local live, scores = {}, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #scores, 2 do
  live[scores[at]] = true
  -- As with windows, if the clock was set back.
  if tonumber(scores[at + 1]) > NOW + RUNNING_KEPT then
    redis.call('ZADD', KEYS[1], text(NOW + RUNNING_KEPT), scores[at])
  end
end

-- First what is known of earlier requests, then this one.
local counts = {}
for _, limit in ipairs(limits) do
  if limit.state then put_state(limit) end
  for _, correction in ipairs(limit.corrections) do
    if correction.measure == 'concurrent_requests' then
      local field = 'r:' .. NODE
      put(limit, field, text(math.max(tonumber(limit.fields[field] or 0) + correction.delta, 0)))
    else
      local field = 'w:' .. correction.measure .. ':' .. NODE
      local window = limit.fields[field]
      if window then put(limit, field, with_correction(window, correction.bucket, correction.delta)) end
    end
  end
  for _, count in ipairs(limit.counts) do
    count.key, count.fields = limit.key, limit.fields
    counts[#counts + 1] = count
  end
end

local word_of_reply = 'counted'
for _, count in ipairs(counts) do
  if count.measure == 'concurrent_requests' then
    count.counted = running_of(count.fields, live)
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
for _, limit in ipairs(limits) do forget_nodes(limit.key, limit.fields, live) end

local reply = { word_of_reply, text(NOW) }
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
for _, limit in ipairs(limits) do redis.call('PEXPIRE', limit.key, text(KEEP / 1000)) end
return reply

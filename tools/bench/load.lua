-- wrk script shared by all targets. Arguments: METHOD SIZE_BYTES KEYS SEED URL_PREFIX IS_NUMBERED HOST:PORT [HOST:PORT ...]
-- PUT writes a new key with contents of its own every time; GET reads one of KEYS keys written before, at random.
local thread_count = 0

function setup(thread)
  thread:set("number", thread_count)
  thread_count = thread_count + 1
end

function init(args)
  method, size, keys, seed, prefix = args[1], tonumber(args[2]), tonumber(args[3]), args[4], args[5]
  numbered = args[6] == "1"
  hosts = {}
  for i = 7, #args do table.insert(hosts, args[i]) end
  local host, port = string.match(hosts[number % #hosts + 1], "(.+):(%d+)")
  wrk.thread.addr = wrk.lookup(host, port)[1]
  count = 0
  math.randomseed(number + 1)
  local block = {}
  for i = 1, 4096 do block[i] = string.char(math.random(0, 255)) end
  filler = string.rep(table.concat(block), math.ceil(size / 4096))
end

function request()
  count = count + 1
  if method == "PUT" then
    local name = string.format("%s-%d-%d", seed, number, count)
    local unique = string.format("%-64s", name)
    if numbered then name = string.format("%d", 1000 + count * 8 + number) end
    return wrk.format("PUT", prefix .. name, nil, unique .. string.sub(filler, 65, size))
  end
  local key = math.random(0, keys - 1)
  return wrk.format("GET", prefix .. (numbered and key or "key-" .. key))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end

-- For wrk: posts one signed body again and again, each time as a new delivery.
--     wrk -s deliveries.lua URL -- BODY_FILE SIGNATURE EVENT A_SECOND
-- A_SECOND is how many at most, as long as a connection is free when the next one is due; 0 is as many as are answered.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, nanoseconds; } moment; int clock_gettime(int clock, moment *now);")
local MONOTONIC = 1

local function milliseconds()
    local now = ffi.new("moment[1]")
    ffi.C.clock_gettime(MONOTONIC, now)
    return tonumber(now[0].seconds) * 1000 + tonumber(now[0].nanoseconds) / 1e6
end

function init(args)
    local file = io.open(args[1], "rb")
    wrk.method, wrk.body = "POST", file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["User-Agent"] = "GitHub-Hookshot/5a3b1e7"
    wrk.headers["X-GitHub-Event"] = args[3]
    wrk.headers["X-GitHub-Hook-ID"] = "42"
    wrk.headers["X-Hub-Signature-256"] = args[2]
    wrk.headers["X-Forwarded-Proto"] = "https"
    math.randomseed(os.time())
    first, sent = math.random(0, 0xffff) * 0x10000 + math.random(0, 0xffff), 0
    local pause = tonumber(args[4]) > 0 and 1000 / tonumber(args[4])
    if pause then
        local due = milliseconds()
        function delay()
            due = due + pause
            return math.max(0, due - milliseconds())
        end
    end
end

function request()
    sent = sent + 1
    wrk.headers["X-GitHub-Delivery"] = string.format("%08x-%04x-4000-8000-%012x", first, sent % 0x10000, sent)
    return wrk.format()
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"seconds": %f, "requests": %d, "refused": %d, "broken": %d, "p50": %f, "p99": %f, "most": %f}\n',
        summary.duration / 1e6, summary.requests, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end

-- wrk.lua: one request, N deep when asked, and the counts as one line that Python reads.
-- wrk -s wrk.lua URL -- DEPTH METHOD BODY_SIZE
function init(args)
    local depth = tonumber(args[1])
    local method = args[2]
    local size = tonumber(args[3])
    local body = nil
    if size > 0 then
        body = string.rep("x", size)
    end
    local block = string.rep(wrk.format(method, nil, nil, body), depth)
    -- wrk asks for the request once, keeps it, and never calls Lua again while it runs.
    wrk.format = function() return block end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '{"requests": %d, "microseconds": %d, "bytes": %d, "connect": %d, "read": %d, '
            .. '"write": %d, "status": %d, "timeout": %d, "p50": %d, "p99": %d}\n',
        summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write,
        e.status, e.timeout, latency:percentile(50), latency:percentile(99)))
end

-- wrk asks with each secret of a file in turn, so that no two connections ask for the same.
local requests, last = {}, 0

function init(arguments)
    for secret in io.lines(arguments[1]) do
        requests[#requests + 1] = wrk.format('GET', nil, {Authorization = 'Bearer ' .. secret})
    end
end

function request()
    last = last % #requests + 1
    return requests[last]
end

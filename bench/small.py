"""Small requests by wrk, which a single core of a client does not hold up."""

import re
from pathlib import Path

from bench.contest import BenchFailed
from bench.processes import cpu_seconds, run
from bench.stats import Sample

THREADS = 2
PATHS = 4096

# The credentials stand in a file that only its owner can read, never in wrk's arguments.
SCRIPT = """\
local threads = 0
function setup(thread)
    thread:set("seed", threads)
    threads = threads + 1
end
function init(args)
    math.randomseed(seed + 1)
    requests = {{}}
    for index = 1, {count} do
        local offset = math.random(0, {last}) * {length}
        requests[index] = string.format({request}, {arguments})
    end
end
function request()
    return requests[math.random({count})]
end
"""


def script(path: Path, request: str, *, arguments: str, length: int, size: int) -> Path:
    """Write a script whose requests are *request* with the Lua expressions *arguments* put in.

    `offset` in them is that of a random range of *length* bytes inside *size*.
    """
    path.touch(mode=0o600)
    path.write_text(
        SCRIPT.format(
            count=PATHS,
            last=size // length - 1,
            length=length,
            request=_quoted(request),
            arguments=arguments,
        )
    )
    return path


def _quoted(text: str) -> str:
    assert '"' not in text
    assert "\\" not in text
    return '"' + text.replace("\r", "\\r").replace("\n", "\\n") + '"'


def requests(port: int, path: Path, connections: int, seconds: float, *, pid: int) -> Sample:
    """Send the script's requests; the value is answers per second.

    Raises:
        BenchFailed: an answer was an error.
    """
    # wrk counts in whole seconds.
    duration = max(1, round(seconds))
    before = cpu_seconds(pid)
    text = run(
        "wrk",
        *("--threads", str(THREADS), "--connections", str(connections)),
        *("--duration", str(duration), "--latency", "--script", str(path)),
        f"http://127.0.0.1:{port}/",
    ).stdout
    server_s = cpu_seconds(pid) - before
    if wrong := re.search(r"Non-2xx.*|Socket errors.*", text):
        raise BenchFailed(f"wrk saw errors: {wrong[0]}")
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", text))
    count = int(_found(r"(\d+) requests in", text))
    return Sample(
        rate,
        {
            "p50_ms": _milliseconds(_found(r"^\s+50%\s+(\S+)$", text)),
            "p99_ms": _milliseconds(_found(r"^\s+99%\s+(\S+)$", text)),
            "server_cpu_us": server_s * 1e6 / count,
        },
    )


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise BenchFailed(f"wrk said: {text[-500:]}")
    return found[1]


def _milliseconds(text: str) -> float:
    for unit, scale in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * scale
    raise BenchFailed(f"wrk said {text!r}")

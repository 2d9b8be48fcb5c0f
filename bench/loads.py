"""Loads on a server: several connections for large bodies, `wrk` for small requests."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.contest import BenchFailed
from bench.load import Job
from bench.processes import cpu_seconds
from bench.stats import Sample, percentile

LOAD_PROGRAM = Path(__file__).with_name("load.py")
GIB = 1 << 30


def transfer(
    job: Job, connections: int, seconds: float | None, *, server_pid: int | None = None
) -> Sample:
    """Move the ranges of *job* over so many connections; the value is MB/s of plain bytes.

    With *seconds* None every range is moved once, shared out between the connections.

    Raises:
        BenchFailed: a connection got another answer than it should.
    """
    before = cpu_seconds(server_pid) if server_pid else 0.0
    outcomes = _outcomes(_shares(job, connections, seconds))
    server_s = cpu_seconds(server_pid) - before if server_pid else 0.0
    wall_s = max(each["ended"] for each in outcomes) - min(each["started"] for each in outcomes)
    moved = sum(each["bytes"] for each in outcomes)
    latencies = [one for each in outcomes for one in each["latencies"]]
    details = {
        "p50_ms": percentile(latencies, 50) * 1e3,
        "p99_ms": percentile(latencies, 99) * 1e3,
        "client_cpu_s_per_gib": sum(each["cpu_s"] for each in outcomes) * GIB / moved,
    }
    if server_pid:
        details["server_cpu_s_per_gib"] = server_s * GIB / moved
    return Sample(moved / wall_s / 1e6, details)


def _shares(job: Job, connections: int, seconds: float | None) -> list[Job]:
    if seconds is not None:
        return [replace(job, seconds=seconds, seed=seed) for seed in range(connections)]
    return [
        replace(
            job,
            seconds=None,
            ranges=job.ranges[first::connections],
            spans=job.spans[first::connections],
        )
        for first in range(connections)
    ]


def _outcomes(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    started = [_start(job) for job in jobs]
    try:
        # All of them are connected and mapped before the first one begins.
        for each in started:
            _line(each)
        for each in started:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        outcomes = [json.loads(_line(each)) for each in started]
    finally:
        for each in started:
            each.kill()
            each.communicate()
    return outcomes


def _start(job: Job) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603 - our own program
        # No guard against our death: the servers die with us, and the client with its connection.
        [sys.executable, "-I", "-S", str(LOAD_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)) + "\n")
    process.stdin.flush()
    return process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line or line.startswith('{"error"'):
        reason = json.loads(line)["error"] if line else "the client died"
        raise BenchFailed(f"the client stopped: {reason}")
    return line

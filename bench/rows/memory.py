"""What the service holds in memory, from /proc: its processes' proportional set size."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench import content
from bench.contest import BenchFailed, Contest, Side, Table
from bench.drive import Drive
from bench.load import Job
from bench.loads import transfer
from bench.processes import memory_bytes
from bench.rig import Rig
from bench.service import Service
from bench.stats import Sample

TABLE = Table()

MB = 1_000_000
IN_FLIGHT = 16
DRIVE_BYTES = 256 * content.MIB
SETTLED_S = 0.5
SETTLED_BYTES = 256 * 1024
SETTLES_WITHIN_S = 20


def settled(pid: int) -> int:
    """Return the tree's memory once it has hardly changed for half a second.

    Raises:
        BenchFailed: it goes on changing.
    """
    deadline = time.monotonic() + SETTLES_WITHIN_S
    last, since = memory_bytes(pid, "Pss"), time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        time.sleep(0.05)
        now = memory_bytes(pid, "Pss")
        if abs(now - last) > SETTLED_BYTES:
            last, since = now, time.monotonic()
        if time.monotonic() > deadline:
            raise BenchFailed("the memory of the service does not settle")
    return last


@TABLE.row(
    key="memory-idle",
    what="memory of the idle process tree, default workers",
    against="",
    unit="MB",
    floor=200,
    goal=120,
    is_quick=True,
    is_limit=True,
    note="PSS: pages that processes share are counted once",
)
def memory_idle(rig: Rig) -> Contest:
    """A service that has just been started, anew in each round."""

    def measure(_: float) -> Sample:
        with Service(rig.folder("idle"), None) as service:
            pss = settled(service.pid)
            return Sample(pss / MB, {"rss_mb": memory_bytes(service.pid, "Rss") / MB})

    return Contest(Side("drivebay", measure))


@contextmanager
def stalled(job: Job, source: Path | None) -> Iterator[None]:
    """Hold requests in the middle: answers not taken, bodies of *source* without the last byte."""
    body = source.read_bytes() if source else b""
    with ExitStack() as stack:
        for offset, length in job.ranges[:IN_FLIGHT]:
            connection = stack.enter_context(socket.socket())
            # Else the kernel takes the whole answer, and the service is rid of it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            connection.connect(("127.0.0.1", job.port))
            connection.sendall(job.head.format(offset=offset, length=length, sent=length).encode())
            if body:
                connection.sendall(body[offset : offset + length - 1])
            else:
                connection.recv(1, socket.MSG_PEEK)
        yield


def _stalled(job: Job, source: Path | None, pid: int) -> int:
    with stalled(job, source):
        return settled(pid)


def _busy(job: Job, pid: int, seconds: float) -> int:
    """Return the most memory that is seen while every connection is busy."""
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(transfer, job, IN_FLIGHT, seconds)
        most = 0
        while not load.done():
            most = max(most, memory_bytes(pid, "Pss"))
            time.sleep(0.02)
        load.result()
    return most


def _growth(folder: Path, filled: Drive, reach: Callable[[Drive], int]) -> float:
    """Return by how much a service that was just started grows for each request, in MiB."""
    with Service(folder, None) as service:
        before = settled(service.pid)
        grown = reach(replace(filled, api=service.api)) - before
    return grown / IN_FLIGHT / content.MIB


def _filled(folder: Path, source: Path) -> Drive:
    with Service(folder, None) as service:
        return service.filled(source)


@TABLE.row(
    key="memory-flight",
    what="memory of each 4 MiB request in flight, encrypted, default workers",
    against="",
    unit="MiB",
    floor=12,
    goal=9,
    is_limit=True,
    note="the growth of the tree's PSS, shared out between 16 requests; the worst of four: answers "
    "that nobody takes, bodies whose last byte does not come, and the peak while 16 connections "
    "read or write at full speed",
)
def memory_flight(rig: Rig) -> Contest:
    """Each of the four after a start of its own, so that none profits from what another left."""
    source = content.stamped(rig.memory / "flight.raw", DRIVE_BYTES)
    folder = rig.folder("flight")
    drive = _filled(folder, source)

    def measure(seconds: float) -> Sample:
        grown = {
            "stalled_reads": lambda used: _stalled(used.reads(), None, used.api.pid),
            "stalled_writes": lambda used: _stalled(used.writes(source), source, used.api.pid),
            "busy_reads": lambda used: _busy(used.reads(), used.api.pid, seconds),
            "busy_writes": lambda used: _busy(used.writes(source), used.api.pid, seconds),
        }
        found = {name: _growth(folder, drive, reach) for name, reach in grown.items()}
        return Sample(max(found.values()), found)

    return Contest(Side("drivebay", measure))

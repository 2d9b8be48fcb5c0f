"""One connection that asks for or sends large bodies as fast as it can: a process of its own.

It reads its job as one line of JSON (credentials are in it, so it is no argument), connects, says
`ready`, waits for a line, works, and prints what it did as one line of JSON.  Only the standard
library is used, and the same code speaks to every server.
"""

import json
import mmap
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The received bytes go into the same 256 KiB over and over: they are copied out of the kernel, as
# any client must, and stay in the core's own cache, so that the client costs as little as it can.
BUFFER_BYTES = 256 * 1024
HEAD_BYTES_MAX = 16 * 1024
SECTOR = 4096
TIMEOUT_S = 120


class LoadFailed(Exception):
    """The server did not do what was asked."""


@dataclass
class Job:
    """What to ask for: *head* is a template, filled in for each range of *ranges*.

    With *seconds* the ranges are asked for in random order until the time is over, without it each
    one once.  *body_path* is the file that holds the bodies, `spans[i]` that of `ranges[i]`.
    """

    port: int
    head: str
    status: int
    ranges: list[tuple[int, int]]
    seconds: float | None = None
    body_path: str = ""
    spans: list[tuple[int, int]] = field(default_factory=list)
    is_stamped: bool = False
    seed: int = 0


class Connection:
    """A raw HTTP/1.1 connection to a server on this machine."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._socket = socket.create_connection(("127.0.0.1", job.port), timeout=TIMEOUT_S)
        # Blocking in the kernel: a Python timeout would poll before each call.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._bodies = _mapped(job.body_path) if job.body_path else None

    def request(self, index: int) -> int:
        """Ask for range *index*, take the whole answer, and return the bytes of the range."""
        offset, length = self._job.ranges[index]
        start, end = self._job.spans[index] if self._job.spans else (offset, offset + length)
        head = self._job.head.format(
            offset=offset, length=length, last=offset + length - 1, sent=end - start
        ).encode()
        if self._bodies is None:
            self._socket.sendall(head)
        else:
            body = self._bodies[start:end]
            sent = self._socket.sendmsg([head, body]) - len(head)
            assert sent >= 0, "a head fits into any socket buffer"
            self._socket.sendall(body[sent:])
        received = self._answer(offset)
        if self._bodies is None and received != length:
            raise LoadFailed(f"{received} bytes came of {length} at {offset}")
        return length

    def _answer(self, offset: int) -> int:
        filled, head_end = 0, -1
        while head_end < 0:
            taken = self._socket.recv_into(self._buffer[filled:])
            if not taken or filled > HEAD_BYTES_MAX:
                raise LoadFailed(f"no answer: {bytes(self._buffer[:filled])!r}")
            filled += taken
            head_end = bytes(self._buffer[: min(filled, HEAD_BYTES_MAX)]).find(b"\r\n\r\n")
        head = bytes(self._buffer[:head_end]).lower()
        length = _content_length(head)
        if int(head[9:12]) != self._job.status:
            raise LoadFailed(f"answered {bytes(self._buffer[:filled])[:1000]!r}")
        body = self._buffer[head_end + 4 : filled]
        if self._job.is_stamped and len(body) >= 8 and body[:8] != _stamp(offset):
            raise LoadFailed(f"other bytes than those at {offset}")
        left = length - len(body)
        while left:
            # MSG_WAITALL: one system call and one wake-up a buffer.
            part = self._buffer[: min(left, BUFFER_BYTES)]
            taken = self._socket.recv_into(part, 0, socket.MSG_WAITALL)
            if not taken:
                raise LoadFailed(f"closed with {left} bytes to come")
            left -= taken
        return length


def _content_length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def _stamp(offset: int) -> bytes:
    return (offset // SECTOR).to_bytes(8, "little")


def _mapped(path: str) -> memoryview:
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        return memoryview(mmap.mmap(file.fileno(), size, flags, mmap.PROT_READ))


def _order(job: Job) -> Iterator[int]:
    if job.seconds is None:
        yield from range(len(job.ranges))
        return
    chance = random.Random(job.seed)  # noqa: S311 - an order, no secret
    while True:
        yield chance.randrange(len(job.ranges))


def _run(job: Job, connection: Connection) -> dict[str, Any]:
    latencies: list[float] = []
    moved = 0
    cpu_before = time.process_time()
    started = before = time.monotonic()
    for index in _order(job):
        moved += connection.request(index)
        now = time.monotonic()
        latencies.append(now - before)
        before = now
        if job.seconds is not None and now - started >= job.seconds:
            break
    cpu_s = time.process_time() - cpu_before
    return {
        "bytes": moved,
        "started": started,
        "ended": before,
        "cpu_s": cpu_s,
        "latencies": latencies,
    }


def main() -> None:
    """Do the job that stands on standard input."""
    job = Job(**json.loads(sys.stdin.readline()))
    try:
        connection = Connection(job)
        _say("ready")
        sys.stdin.readline()
        _say(json.dumps(_run(job, connection)))
    except (LoadFailed, OSError) as error:
        _say(json.dumps({"error": str(error)}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

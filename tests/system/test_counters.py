"""Counters: exact for what was answered 2xx, over all processes, and they only ever grow."""

import gzip
import os
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import pytest

from drivebay.units import KIB, MIB
from live import Server, authorization
from system.waiting import wait_until

KEYS = ("read:bytes", "read:requests", "write:bytes", "write:requests")
SIZE = 12 * MIB
CLIENTS = 6
CALLS = 50


@pytest.fixture
def wide(make_server):
    """A service with more workers than cores, so that requests meet in several processes."""
    return make_server(workers=4)


class Load:
    """Clients of one drive who keep count of what was answered with success."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.user = server.add_user("counted")
        self.stranger = server.add_user("stranger")
        self.drive = server.create(f"size {SIZE}", user=self.user)
        self.expected: Counter[str] = Counter(dict.fromkeys(KEYS, 0))
        self.statuses: Counter[int] = Counter()
        self._lock = threading.Lock()

    def totals(self) -> dict[str, int]:
        record = self.server.api("GET", f"/drives/{self.drive}/info", user=self.user).record
        return {key: int(record[key]) for key in KEYS}

    def work(self, seed: int) -> None:
        choice = random.Random(seed)
        kinds = [self._read, self._read, self._write, self._write, self._gzip, self._long]
        kinds += [self._refused]
        for _ in range(CALLS):
            choice.choice(kinds)(choice)

    def _call(self, kind: str, length: int, path: str, body: bytes = b"", **headers: str) -> None:
        method = "GET" if kind == "read" else "POST"
        path = f"/drives/{self.drive}/{path}"
        answer = self.server.api(method, path, body, user=self.user, headers=headers)
        with self._lock:
            self.statuses[answer.status] += 1
            if answer.status in {200, 204}:
                self.expected[f"{kind}:bytes"] += length
                self.expected[f"{kind}:requests"] += 1

    def _read(self, choice: random.Random) -> None:
        length = choice.choice([0, 1, 4096, 70_000, MIB])
        self._call("read", length, f"read/{_offset(choice)}/{length}")

    def _write(self, choice: random.Random) -> None:
        length = choice.choice([0, 1, 4096, 70_000, MIB])
        self._call("write", length, f"write/{_offset(choice)}", os.urandom(length))

    def _gzip(self, choice: random.Random) -> None:
        length = choice.choice([0, 1, 70_000])
        packed = gzip.compress(choice.randbytes(length), 1)
        self._call("write", length, "write/5", packed, **{"Content-Encoding": "gzip"})

    def _long(self, choice: random.Random) -> None:
        """More than a piece, which sometimes runs into the drive's end after the first."""
        length = choice.randint(5, 9) * MIB
        packed = gzip.compress(bytes(length), 1)
        self._call("write", length, "write/6M", packed, **{"Content-Encoding": "gzip"})

    def _refused(self, choice: random.Random) -> None:
        """Calls that must not count, whatever is wrong with them."""
        server, drive, user = self.server, f"/drives/{self.drive}", self.user
        calls: list[Callable[[], int]] = [
            lambda: server.api("GET", f"{drive}/read/{SIZE}/1", user=user).status,
            lambda: server.api("GET", f"{drive}/read/0/4194305", user=user).status,
            lambda: server.api("GET", f"{drive}/read/x/1", user=user).status,
            lambda: server.api("GET", f"{drive}/read/0/1", user=self.stranger).status,
            lambda: server.api("GET", f"{drive}/read/0/1", user=(user[0], "wrong")).status,
            lambda: server.api("POST", f"{drive}/write", b"x", user=self.stranger).status,
            lambda: server.api("POST", f"{drive}/write/{SIZE - 1}", b"xx", user=user).status,
            lambda: (
                server.api(
                    "POST",
                    f"{drive}/write",
                    b"none",
                    user=user,
                    headers={"Content-Encoding": "gzip"},
                ).status
            ),
            lambda: server.api("GET", f"{drive}/write", user=user).status,
        ]
        assert 400 <= choice.choice(calls)() < 600
        assert server.api("HEAD", f"{drive}/read/0/4M", user=user).status == 200


def _offset(choice: random.Random) -> int:
    """Return a place in the drive, often one so near its end that much does not fit."""
    return choice.choice([choice.randrange(SIZE), SIZE - 4096])


def test_counters_are_exact_over_all_workers_and_survive_every_end(wide):
    load = Load(wide)
    stopped = threading.Event()

    def watch() -> None:
        """See them only ever grow, whichever worker is asked."""
        before = load.totals()
        while not stopped.is_set():
            now = load.totals()
            assert all(now[key] >= before[key] for key in KEYS)
            before = now

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        watching = pool.submit(watch)
        try:
            list(pool.map(load.work, range(CLIENTS)))
        finally:
            stopped.set()
        watching.result()

    assert set(load.statuses) <= {200, 204, 400, 507}
    assert load.statuses[507] > 0
    assert load.statuses[400] > 0
    for _ in range(8):
        assert load.totals() == load.expected
    wide.stop()
    wide.start()
    assert load.totals() == load.expected
    # What came after the last flush of the counters is in the page cache, and a kill leaves that.
    load.work(99)
    wide.kill()
    wide.workers = 2
    wide.start()
    assert load.totals() == load.expected


def test_requests_that_meet_in_one_process_are_all_counted(make_server):
    server = make_server(workers=1)
    drive = server.create("size 64k")
    headers = {"Authorization": authorization(server.first)}

    def read(_: int) -> None:
        with closing(HTTPConnection(server.host, server.port, timeout=60)) as connection:
            for _ in range(200):
                connection.request("GET", f"/drives/{drive}/read/5/7", headers=headers)
                assert connection.getresponse().read() == bytes(7)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))

    info = server.api("GET", f"/drives/{drive}/info").record
    assert (info["read:requests"], info["read:bytes"]) == ("1600", str(1600 * 7))


def test_a_body_that_ends_early_does_not_count(server, owner):
    drive = server.create("size 8M", user=owner)
    head = (
        f"POST /drives/{drive}/write HTTP/1.1\r\nHost: x\r\nContent-Length: {6 * MIB}\r\n"
        f"Authorization: {authorization(owner)}\r\n\r\n"
    ).encode()
    body = b"\xff" * (5 * MIB)

    with server.connect() as connection:
        connection.sendall(head + body)
        # The first piece is in place before the end comes.
        path = f"/drives/{drive}/read/{4 * MIB - 1}/1"
        wait_until(lambda: server.api("GET", path, user=owner).body == b"\xff")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    info = server.api("GET", f"/drives/{drive}/info", user=owner).record
    assert (info["write:bytes"], info["write:requests"]) == ("0", "0")
    assert server.api("GET", f"/drives/{drive}/read/4M/1", user=owner).body == b"\0"


def test_imaging_does_not_count(server, owner):
    source, drive = server.create("size 64k", user=owner), server.create("size 64k", user=owner)
    assert server.api("POST", f"/drives/{drive}/image/{source}", user=owner).status == 204
    wait_until(
        lambda: "imaging" not in server.api("GET", f"/drives/{drive}/info", user=owner).record
    )

    for one in (source, drive):
        info = server.api("GET", f"/drives/{one}/info", user=owner).record
        assert {info[key] for key in KEYS} == {"0"}


def test_a_new_drive_starts_at_zero_though_others_were_destroyed(make_server):
    server = make_server(workers=2)
    for _ in range(3):
        drive = server.create("size 64k")
        info = server.api("GET", f"/drives/{drive}/info").record
        assert {info[key] for key in KEYS} == {"0"}
        assert server.api("POST", f"/drives/{drive}/write", b"x" * KIB).status == 204
        assert server.api("POST", f"/drives/{drive}/destroy").status == 204
        server.kill()
        server.start()

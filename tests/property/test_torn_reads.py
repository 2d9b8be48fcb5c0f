"""Overlapping reads and writes take effect one after the other: no read sees half a write."""

import http.client
import itertools
import threading
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivebay.service import drives, transfer
from live import authorization
from property.fights import fight_over_a_range, fight_side_by_side
from property.world import World

SIZE = 1_200_000
ROUNDS = 20

offsets = st.sampled_from([0, 1, 4095, 4096, 5000])
lengths = st.sampled_from([2, 100, 4096, 4097, 20_000, 150_000, 1_000_000])
bounds = st.lists(st.integers(0, 3 * 4096), min_size=3, max_size=6, unique=True).map(sorted)

kinds = pytest.mark.parametrize("kind", ["file", "memory"])
ciphers = pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])


class InProcess:
    """One drive of a history's world, which calls of two workers reach in turn."""

    def __init__(self, world: World, cipher: str) -> None:
        self._contexts = itertools.cycle(world.workers)
        self._owner = UUID(world.owner)
        pairs = {"size": str(SIZE), "encryption:cipher": cipher}
        record = drives.create(next(self._contexts), self._owner, pairs)
        self._drive = UUID(str(record["drive"]))

    def write(self, offset: int, data: bytes) -> None:
        upload = transfer.Upload(
            next(self._contexts), self._owner, self._drive, offset, length=len(data), gzip=False
        )
        upload.begin()
        upload.feed(memoryview(bytearray(data)))
        upload.finish()

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        transfer.read(next(self._contexts), self._owner, self._drive, offset, memoryview(data))
        return bytes(data)


class Live:
    """One drive of a running service; each thread keeps a connection."""

    def __init__(self, server, user, cipher: str) -> None:
        self._server = server
        self._headers = {"Authorization": authorization(user)}
        text = f"size {SIZE}\nencryption:cipher {cipher}"
        self._path = f"/drives/{server.create(text, user=user)}"
        self._mine = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def write(self, offset: int, data: bytes) -> None:
        assert self._call("POST", f"write/{offset}", data)[0] == 204

    def read(self, offset: int, length: int) -> bytes:
        status, body = self._call("GET", f"read/{offset}/{length}", b"")
        assert status == 200
        return body

    def _call(self, method: str, call: str, body: bytes) -> tuple[int, bytes]:
        if not hasattr(self._mine, "connection"):
            where = (self._server.host, self._server.port)
            self._mine.connection = http.client.HTTPConnection(*where, timeout=120)
            self._all.append(self._mine.connection)
        self._mine.connection.request(method, f"{self._path}/{call}", body, self._headers)
        response = self._mine.connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        for connection in self._all:
            connection.close()


@pytest.fixture
def live(server, owner):
    made: list[Live] = []

    def make(cipher: str) -> Live:
        made.append(Live(server, owner, cipher))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def world(template, base, kind):
    made = World(template, base / f"fight-{kind}", kind)
    yield made
    made.close()


@kinds
@ciphers
def test_no_read_sees_half_a_write_in_one_process(world, cipher):
    @settings(max_examples=10)
    @given(offset=offsets, length=lengths)
    def property(offset, length):
        drive = InProcess(world, cipher)

        seen = fight_over_a_range(drive.write, drive.read, offset, length, ROUNDS)

        assert all(len(numbers) == 1 for numbers in seen)

    property()


@kinds
@ciphers
def test_neighbours_in_a_sector_keep_their_bytes_in_one_process(world, cipher):
    @settings(max_examples=10)
    @given(bounds=bounds)
    def property(bounds):
        drive = InProcess(world, cipher)

        fight_side_by_side(drive.write, drive.read, bounds, ROUNDS)

    property()


@ciphers
@pytest.mark.parametrize(("offset", "length"), [(4095, 20_000), (0, 150_000)])
def test_no_read_sees_half_a_write_over_two_worker_processes(live, cipher, offset, length):
    drive = live(cipher)

    seen = fight_over_a_range(drive.write, drive.read, offset, length, 4 * ROUNDS)

    assert all(len(numbers) == 1 for numbers in seen)


@ciphers
def test_neighbours_in_a_sector_keep_their_bytes_over_two_worker_processes(live, cipher):
    drive = live(cipher)

    fight_side_by_side(drive.write, drive.read, [0, 100, 4000, 4096, 4097, 9000], 4 * ROUNDS)

"""Native steps for small reads and writes: the same bytes as the long way, or none at all."""

import os
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivebay.storage.crypt import CryptVolume, NativeCipher, PortableCipher, is_native
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore
from drivebay.storage.pieces import Counter, NativePieces, native_pieces
from drivebay.storage.volume import Volume
from drivebay.units import KIB

SECTOR = 4096
SIZE = 64 * SECTOR
LONGEST = 64 * KIB
VERSION = 0x80000007
KEY = bytes(range(64))

pytestmark = pytest.mark.skipif(not is_native(), reason="the native library is not built")


@dataclass
class Bench:
    """A volume, a buffer, and the native steps between them."""

    store: FileStore
    volume: Volume
    other: Volume
    buffer: memoryview
    counter: Path
    native: NativePieces

    def read(self, offset: int, length: int) -> bytes:
        """Read by the other object of the volume, the long way."""
        data = bytearray(length)
        self.other.pread(offset, memoryview(data))
        return bytes(data)

    def put(self, at: int, data: bytes) -> None:
        self.buffer[at : at + len(data)] = data


@pytest.fixture(params=["encrypted", "plain"])
def bench(request, tmp_path) -> Iterator[Bench]:
    store = FileStore("one", "here", tmp_path / "store")
    store.prepare("identity", first=True)
    uuid = uuid4()
    store.create(uuid, SIZE)

    def opened() -> Volume:
        stored = store.open(uuid)
        if request.param == "plain":
            return stored
        return CryptVolume(stored, NativeCipher(KEY), SIZE)

    counter = tmp_path / "counter"
    counter.write_bytes(bytes(24) + struct.pack(">I", VERSION))
    fd = os.open(counter, os.O_RDONLY)
    buffer = memoryview(bytearray(4 * LONGEST))
    with opened() as volume, opened() as other:
        native = native_pieces(volume, Counter(fd, 24), buffer, longest=LONGEST)
        assert native is not None
        yield Bench(store, volume, other, buffer, counter, native)
    os.close(fd)


def noise(length: int) -> bytes:
    """Return bytes of which no sector is zeros."""
    return bytes(1 + index % 255 for index in range(length))


def test_what_is_written_is_read_the_long_way_and_the_other_way_round(bench):
    data = os.urandom(2 * SECTOR)
    bench.put(28, data)

    assert bench.native.write(VERSION, [(3 * SECTOR, 2 * SECTOR, 28)]) == 1
    assert bench.read(3 * SECTOR, 2 * SECTOR) == data
    assert bench.native.read(VERSION, [(3 * SECTOR, 2 * SECTOR, LONGEST)]) == 1

    assert bytes(bench.buffer[LONGEST : LONGEST + 2 * SECTOR]) == data
    assert bytes(bench.buffer[28 : 28 + 2 * SECTOR]) == data


_sectors = st.tuples(st.integers(0, 47), st.integers(1, 16))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(_sectors, min_size=1, max_size=20), seed=st.binary(min_size=1, max_size=4))
def test_any_pieces_are_written_in_order_and_read_as_they_were(bench, ranges, seed):
    expected = bytearray(bench.read(0, SIZE))
    at = 1
    for first, count in ranges:
        data = (seed + bytes([1 + first])) * (count * SECTOR)
        data = data[: count * SECTOR].replace(b"\0", b"\1")
        bench.put(at, data)
        piece = (first * SECTOR, count * SECTOR, at)
        assert bench.native.write(VERSION, [piece]) == 1
        expected[first * SECTOR : (first + count) * SECTOR] = data

    assert bench.read(0, SIZE) == expected
    pieces = [
        (first * SECTOR, SECTOR, 3 + index * SECTOR) for index, (first, _) in enumerate(ranges)
    ]
    assert bench.native.read(VERSION, pieces) == len(pieces)
    for offset, _, at in pieces:
        assert bytes(bench.buffer[at : at + SECTOR]) == expected[offset : offset + SECTOR]


def test_holes_are_read_as_zeros(bench):
    bench.put(0, noise(SECTOR))

    assert bench.native.read(VERSION, [(5 * SECTOR, SECTOR, 0)]) == 1

    assert bytes(bench.buffer[:SECTOR]) == bytes(SECTOR)


@pytest.mark.parametrize("piece", [(1, SECTOR, 0), (0, 1, 0), (SECTOR, SECTOR + 512, 0)])
def test_what_is_not_whole_sectors_is_left_to_the_long_way(bench, piece):
    bench.put(0, noise(LONGEST))

    assert bench.native.read(VERSION, [(0, SECTOR, 0), piece]) == 0
    assert bench.native.write(VERSION, [(0, SECTOR, 0), piece]) == 0
    assert bench.read(0, SIZE) == bytes(SIZE)


def test_a_sector_of_zeros_is_left_to_the_long_way_which_makes_it_a_hole(bench):
    bench.put(0, noise(SECTOR) + bytes(SECTOR) + noise(SECTOR))
    pieces = [(0, SECTOR, 0), (SECTOR, 2 * SECTOR, SECTOR), (9 * SECTOR, SECTOR, 0)]

    assert bench.native.write(VERSION, pieces) == 1

    assert bench.read(0, SECTOR) == noise(SECTOR)
    assert bench.read(SECTOR, SIZE - SECTOR) == bytes(SIZE - SECTOR)


def test_nothing_is_done_when_the_counter_has_changed(bench):
    bench.put(0, noise(SECTOR))

    assert bench.native.write(VERSION + 1, [(0, SECTOR, 0)]) == 0
    assert bench.native.read(VERSION - 1, [(0, SECTOR, 0)]) == 0
    assert bench.native.read(7, [(0, SECTOR, 0)]) == 0

    bench.counter.write_bytes(b"")
    assert bench.native.write(VERSION, [(0, SECTOR, 0)]) == 0
    assert bench.read(0, SECTOR) == bytes(SECTOR)


@pytest.mark.parametrize("shared", [True, False])
def test_nothing_is_done_while_a_lock_is_not_free(bench, shared):
    bench.put(0, noise(SECTOR))
    pieces = [(0, SECTOR, 0), (8 * SECTOR, SECTOR, 0)]

    with bench.other.locked(8 * SECTOR, 1, shared=shared):
        assert bench.native.write(VERSION, pieces) == 0
        assert bench.native.read(VERSION, pieces) == (2 if shared else 0)
    bench.put(0, noise(SECTOR))
    assert bench.native.write(VERSION, pieces) == 2


@pytest.mark.parametrize("way", ["read", "write"])
def test_no_lock_is_kept(bench, way):
    bench.put(0, noise(SECTOR))

    for version in (VERSION, VERSION + 1):
        getattr(bench.native, way)(version, [(0, SECTOR, 0), (4 * SECTOR, SECTOR, 0)])

        with bench.other.locked_whole(shared=False, wait_s=0.0):
            pass


def test_a_file_that_was_cut_is_left_to_the_long_way(bench):
    (path,) = (bench.store._path).glob("*.volume")
    os.truncate(path, 8 * SECTOR)

    pieces = [(7 * SECTOR, SECTOR, 0), (8 * SECTOR, SECTOR, SECTOR)]

    assert bench.native.read(VERSION, pieces) == 1


@contextmanager
def files_no_longer_than(length: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_cannot_be_written_is_still_there_in_plain_for_the_long_way(bench):
    data = noise(2 * SECTOR)
    bench.put(0, data)
    pieces = [(0, SECTOR, 0), (9 * SECTOR, SECTOR, SECTOR)]

    with files_no_longer_than(4 * SECTOR):
        done = bench.native.write(VERSION, pieces)

    assert done == 1
    assert bytes(bench.buffer[: 2 * SECTOR]) == data


def test_there_are_none_for_what_is_no_file_or_has_another_cipher(tmp_path):
    counter, buffer = Counter(0, 0), memoryview(bytearray(LONGEST))
    memory = MemoryStore("m", "m")
    uuid = uuid4()
    memory.create(uuid, SIZE)
    store = FileStore("one", "here", tmp_path / "store")
    store.prepare("identity", first=True)
    store.create(uuid, SIZE)
    with (
        memory.open(uuid) as one,
        CryptVolume(store.open(uuid), PortableCipher(KEY), SIZE) as other,
        store.open(uuid) as third,
    ):
        assert native_pieces(one, counter, buffer, longest=LONGEST) is None
        assert native_pieces(other, counter, buffer, longest=LONGEST) is None
        assert native_pieces(third, None, buffer, longest=LONGEST) is None
        assert native_pieces(third, counter, buffer, longest=LONGEST) is not None

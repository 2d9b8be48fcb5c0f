"""Copying volumes: as they are, into a gzip stream, and out of one."""

import gzip
import random
import threading
import zlib
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.stacks import SECTOR, Kept, Stack, holes, pattern, read, writable
from drivebay.errors import DestinationTooSmall, InvalidInput, StorageFailed
from drivebay.storage import copy
from drivebay.storage.copy import PIECE, copy_gunzip, copy_gzip, copy_raw
from drivebay.storage.crypt import PortableCipher
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore, MemoryVolume
from drivebay.storage.volume import Extent
from unit.gzips import FHCRC, FTEXT, member, member_of_length

TEXT = b"some lines of text, some lines of text; " * 50

# What may stand behind the last member: it is not the beginning of one.
PADDINGS = [
    b"",
    b"\0",
    b"\0" * 5000,
    b"\x1f",
    b"\x1f\x8b",
    b"\x1f\x8b\x00\x08",
    b"\x1f\x8b\x09" + b"x" * 100,
    b"\x1f\x1f\x8b\x08",
    b"junk",
    b"\xff" * 5000,
]

HEADS = [
    {},
    {"name": b"disk.img"},
    {"name": b"disk.img", "comment": b"two parts"},
    {"extra": b"\x1f\x8b\x08" * 1000},
    {"flags": FHCRC},
    {"name": b"n", "comment": b"", "extra": b"", "flags": FHCRC | FTEXT},
]

contents = st.lists(
    st.tuples(st.sampled_from([b"\0", b"a", b"bc"]), st.integers(1, 3 * SECTOR)), max_size=5
).map(lambda parts: b"".join(unit * count for unit, count in parts))


class Copied(list[int]):
    """The calls of *progress*."""

    def __call__(self, position: int) -> None:
        self.append(position)


class Enough(Exception):
    """What *progress* may raise."""


@pytest.fixture(scope="module")
def stack():
    return Stack(MemoryStore("memory", "domain"))


@pytest.fixture
def keep(stack: Stack):
    """Make a volume that holds *content*, and nothing else in *size* bytes."""
    kept = []

    def with_content(content: bytes, size: int | None = None) -> Kept:
        made = stack.make(size or max(1, len(content)))
        kept.append(made)
        with made.open() as volume:
            volume.pwrite(0, writable(content))
        return made

    yield with_content
    for one in kept:
        stack.store.destroy(one.uuid)


def content_of(kept: Kept) -> bytes:
    with kept.open() as volume:
        return read(volume)


def run(copying, source: Kept, destination: Kept, **options) -> Copied:
    done = Copied()
    with source.open() as one, destination.open() as other:
        copying(one, other, **{"progress": done, **options})
    return done


def run_raw(source: Kept, destination: Kept, *, start: int, **options) -> Copied:
    with ExitStack() as opened:
        lanes = [
            (opened.enter_context(source.open()), opened.enter_context(destination.open()))
            for _ in range(2)
        ]
        return run(copy_raw, source, destination, lanes=lanes, start=start, **options)


def first_member(kept: Kept) -> tuple[bytes, bytes]:
    """Return what the member at the volume's start unpacks to, and what follows it."""
    inner = zlib.decompressobj(wbits=31)
    data = inner.decompress(content_of(kept))
    assert inner.eof
    return data, inner.unused_data


def unzip(keep, stream: bytes, size: int) -> tuple[bytes, Copied]:
    """Unpack a source that holds *stream* onto a destination of *size* bytes."""
    destination = keep(b"", size)
    done = run(copy_gunzip, keep(stream), destination)
    return content_of(destination), done


class TestRaw:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(content=contents, before=contents, more=st.integers(0, 2 * SECTOR))
    def test_the_destination_gets_the_source_and_keeps_what_lies_behind(
        self, keep, content, before, more
    ):
        source = keep(content)
        destination = keep(before[: source.size + more], source.size + more)
        behind = content_of(destination)[source.size :]

        done = run_raw(source, destination, start=0)

        assert content_of(destination) == content_of(source) + behind
        assert done == sorted(done)
        assert done[-1] == source.size

    def test_holes_stay_holes_and_what_was_in_their_place_is_gone(self, keep):
        source = keep(pattern(SECTOR) + bytes(6 * SECTOR) + pattern(SECTOR))
        destination = keep(pattern(10 * SECTOR, seed=2))

        run_raw(source, destination, start=0)

        with destination.open() as volume:
            assert [(hole.offset, hole.length) for hole in holes(volume)] == [(SECTOR, 6 * SECTOR)]

    def test_a_tebibyte_is_copied_by_its_data(self, tmp_path):
        store = FileStore("file", "domain", tmp_path / "store")
        store.prepare("0123", first=True)
        source, destination = Stack(store).make(2**40), Stack(store).make(2**40)
        with source.open() as volume:
            volume.pwrite(2**39, writable(b"in the middle"))

        done = run_raw(source, destination, start=0)

        assert done == [2**39, 2**39 + SECTOR, 2**40, 2**40]
        with destination.open() as volume:
            assert read(volume, 2**39 - 1, 15) == b"\0in the middle\0"
            assert volume.allocated() < 2**20

    @pytest.mark.parametrize("start", [0, 1, SECTOR, 2 * SECTOR + 5, 3 * SECTOR])
    def test_a_copy_begins_where_the_last_one_ended(self, keep, start):
        source, destination = keep(pattern(3 * SECTOR)), keep(pattern(3 * SECTOR, seed=2))
        before = content_of(destination)

        done = run_raw(source, destination, start=start)

        assert content_of(destination) == before[:start] + content_of(source)[start:]
        assert min(done) >= start

    def test_progress_is_told_after_every_piece_and_may_end_the_copy(self, keep):
        source, destination = keep(pattern(2 * PIECE + 100)), keep(b"", 2 * PIECE + 100)
        calls = Copied()

        def stop_after_the_first(position: int) -> None:
            calls(position)
            raise Enough

        with pytest.raises(Enough):
            run_raw(source, destination, start=0, progress=stop_after_the_first)
        assert calls == [PIECE]
        assert content_of(destination)[:PIECE] == pattern(PIECE)

        done = run_raw(source, destination, start=PIECE)
        assert done == [2 * PIECE, 2 * PIECE + 100, 2 * PIECE + 100]
        assert content_of(destination) == pattern(2 * PIECE + 100)

    def test_a_destination_that_is_too_small_is_refused_and_not_touched(self, keep):
        source, destination = keep(pattern(SECTOR)), keep(pattern(SECTOR - 1, seed=2))
        before = content_of(destination)

        with pytest.raises(DestinationTooSmall) as refusal:
            run_raw(source, destination, start=0)

        assert refusal.value.size == SECTOR - 1
        assert content_of(destination) == before


class TestLanes:
    """Several threads copy one volume."""

    @pytest.mark.parametrize("ciphers", [(None, None), (PortableCipher, PortableCipher)])
    @pytest.mark.parametrize("start", [0, 1, SECTOR + 7, 5 * SECTOR])
    def test_threads_that_write_side_by_side_copy_every_byte(self, monkeypatch, ciphers, start):
        """Also where the copy begins in a sector's middle and pieces touch."""
        monkeypatch.setattr(copy, "PIECE", 4 * SECTOR)
        store = MemoryStore("memory", "domain")
        content = b"".join(pattern(n * 700, seed=n) + bytes(n * 900) for n in range(1, 40))
        source, destination = (Stack(store, one).make(len(content)) for one in ciphers)
        before = pattern(len(content), seed=2)
        with source.open() as one, destination.open() as other:
            one.pwrite(0, writable(content))
            other.pwrite(0, writable(before))

        done = run_raw(source, destination, start=start)

        assert content_of(destination) == before[:start] + content[start:]
        assert done == sorted(done)

    def test_a_failure_of_one_ends_the_copy(self, keep, monkeypatch):
        monkeypatch.setattr(copy, "PIECE", 4 * SECTOR)
        source, destination = keep(pattern(100 * SECTOR)), keep(b"", 100 * SECTOR)

        def fail_behind(volume, offset: int, data: memoryview) -> None:
            if offset >= 40 * SECTOR:
                raise StorageFailed(operation="write", offset=offset)
            written(volume, offset, data)

        written = MemoryVolume.pwrite
        monkeypatch.setattr(MemoryVolume, "pwrite", fail_behind)
        done = Copied()

        with pytest.raises(StorageFailed):
            run_raw(source, destination, start=0, progress=done)

        assert done == [end * SECTOR for end in range(4, 41, 4)]
        assert not [one for one in threading.enumerate() if one.name.startswith("copy")]

    def test_what_progress_is_told_is_there(self, keep, monkeypatch):
        monkeypatch.setattr(copy, "PIECE", 4 * SECTOR)
        content = pattern(50 * SECTOR)
        source, destination = keep(content), keep(b"", 50 * SECTOR)

        def require(position: int) -> None:
            assert content_of(destination)[:position] == content[:position]

        run_raw(source, destination, start=0, progress=require)

    @given(
        st.lists(st.tuples(st.integers(1, 3 * SECTOR), st.booleans()), min_size=1, max_size=12),
        st.integers(0, 2 * SECTOR),
    )
    def test_no_sector_lies_in_two_extents_and_data_stays_data(self, parts, start):
        extents, end = [], start
        for length, is_data in parts:
            extents.append(Extent(end, length, is_data))
            end += length

        whole = list(copy._sectors_whole(extents, start, end))

        assert [one.offset for one in whole] == [start, *(one.end for one in whole[:-1])]
        assert whole[-1].end == end
        assert all(one.end % SECTOR == 0 for one in whole[:-1])
        data = {at for one in whole if one.is_data for at in range(one.offset, one.end)}
        for one in extents:
            if one.is_data:
                assert data.issuperset(range(one.offset, one.end))


class TestGzip:
    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(content=contents)
    def test_the_destination_begins_with_one_sound_member(self, keep, content):
        source, destination = keep(content), keep(b"\xee" * 200_000)

        done = run(copy_gzip, source, destination)

        data, behind = first_member(destination)
        assert data == content_of(source)
        assert set(behind) == {0xEE}
        assert done[-1] == source.size

    def test_a_stream_of_many_pieces_is_whole(self, keep):
        content = random.Random(1).randbytes(PIECE + 100) + bytes(2 * PIECE) + TEXT
        source, destination = keep(content), keep(b"", 2 * PIECE)

        done = run(copy_gzip, source, destination)

        assert first_member(destination)[0] == content
        assert done == [PIECE, 2 * PIECE, 3 * PIECE, len(content)]

    def test_a_stream_that_does_not_fit_is_told(self, keep):
        source = keep(pattern(50_000))
        length = len(gzip.compress(pattern(50_000)))

        with pytest.raises(DestinationTooSmall) as refusal:
            run(copy_gzip, source, keep(b"", length // 2))

        assert refusal.value.size == length // 2

    def test_what_was_packed_is_unpacked(self, keep):
        content = pattern(SECTOR) + bytes(PIECE) + TEXT
        packed, unpacked = keep(b"", 2 * SECTOR + 6000), keep(b"", len(content))

        run(copy_gzip, keep(content), packed)
        run(copy_gunzip, packed, unpacked)

        assert content_of(unpacked) == content


class TestGunzip:
    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        data=st.lists(contents, min_size=1, max_size=4),
        level=st.integers(0, 9),
        head=st.sampled_from(HEADS),
        padding=st.sampled_from(PADDINGS),
        part=st.sampled_from([1, 2, 3, 5, 64, 1000, 2**16]),
    )
    def test_members_are_unpacked_one_after_the_other_and_padding_is_ignored(
        self, keep, monkeypatch, data, level, head, padding, part
    ):
        """However the stream is cut into parts: each byte of a header may lie in its own."""
        monkeypatch.setattr(copy, "_PART", part)
        stream = b"".join(member(one, level=level, **head) for one in data) + padding
        whole = b"".join(data)

        unpacked, done = unzip(keep, stream, len(whole) + 10)

        assert unpacked == whole + bytes(10)
        assert done[-1] == len(stream)

    @pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 3, 4])
    def test_a_member_may_begin_anywhere_about_the_end_of_a_part(self, keep, beyond):
        stream = member_of_length(2**16 - beyond, TEXT) + member(b"more")

        assert unzip(keep, stream, len(TEXT) + 4)[0] == TEXT + b"more"

    @pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 3, 4])
    def test_a_member_may_begin_anywhere_about_the_end_of_a_piece(self, keep, monkeypatch, beyond):
        monkeypatch.setattr(copy, "PIECE", 2**16)
        stream = member_of_length(2**16 - beyond, TEXT) + member(b"more") + b"\x1f\x8b"

        assert unzip(keep, stream, len(TEXT) + 4)[0] == TEXT + b"more"

    @pytest.mark.parametrize("head", [*HEADS, {"comment": b"x" * 2**19}], ids=repr)
    def test_all_parts_of_a_header_are_passed_over(self, keep, head):
        assert unzip(keep, member(TEXT, **head), len(TEXT))[0] == TEXT

    @pytest.mark.parametrize(
        "stream",
        [b"\0", b"\x1f\x8b\x00", b"\x1f\x1f", b"plain bytes", b"\0" + member(TEXT)],
        ids=lambda stream: stream[:6].hex(),
    )
    def test_what_does_not_begin_with_a_member_is_refused(self, keep, stream):
        with pytest.raises(InvalidInput, match="does not hold a gzip stream"):
            unzip(keep, stream, 10_000)

    def test_a_header_without_end_is_refused(self, keep):
        with pytest.raises(InvalidInput, match="its header is longer than 1048576 bytes"):
            unzip(keep, member(TEXT, name=b"x" * 2**21), len(TEXT))

    def test_a_stream_that_is_cut_anywhere_is_refused(self, keep):
        whole = member(TEXT, name=b"disk.img")

        for end in range(1, len(whole)):
            with pytest.raises(InvalidInput, match="ends before its end"):
                unzip(keep, whole[:end], len(TEXT))

    def test_a_further_member_that_is_cut_is_refused(self, keep):
        whole = member(TEXT) + member(TEXT, name=b"disk.img")

        for end in range(len(member(TEXT)) + 3, len(whole)):
            with pytest.raises(InvalidInput):
                unzip(keep, whole[:end], 2 * len(TEXT))

    def test_a_changed_byte_is_noticed_or_changes_nothing(self, keep):
        """Time, system and the like in the header may change; nothing else may."""
        whole = member(TEXT)
        unharmed = set()

        for at in range(len(whole)):
            changed = bytearray(whole)
            changed[at] ^= 0x55
            try:
                assert unzip(keep, bytes(changed), 2**20)[0].rstrip(b"\0") == TEXT
                unharmed.add(at)
            except InvalidInput:
                pass

        assert unharmed <= set(range(4, 10))

    def test_what_is_unpacked_may_fill_the_destination_and_no_more(self, keep):
        assert unzip(keep, member(TEXT), len(TEXT))[0] == TEXT
        assert unzip(keep, member(TEXT), len(TEXT) + 5)[0] == TEXT + bytes(5)

        with pytest.raises(DestinationTooSmall) as refusal:
            unzip(keep, member(TEXT), len(TEXT) - 1)
        assert refusal.value.size == len(TEXT) - 1

    def test_zeros_that_are_unpacked_are_holes_and_take_no_memory(self, stack, keep):
        large = 64 * 2**20
        destination = stack.make(large)

        run(copy_gunzip, keep(gzip.compress(bytes(large))), destination)

        with destination.open() as volume:
            assert volume.allocated() == 0
        stack.store.destroy(destination.uuid)

    def test_what_lies_behind_the_stream_stays_as_it_was(self, keep):
        destination = keep(pattern(10_000))

        run(copy_gunzip, keep(member(TEXT)), destination)

        assert content_of(destination) == TEXT + pattern(10_000)[len(TEXT) :]

    def test_the_source_is_read_no_further_than_the_stream(self, keep, stack):
        source = stack.make(2**40)
        with source.open() as volume:
            volume.pwrite(0, writable(member(TEXT)))

        done = run(copy_gunzip, source, keep(b"", len(TEXT)))

        assert done == [PIECE, 2**40]
        stack.store.destroy(source.uuid)

    def test_many_tiny_members_are_unpacked(self, keep):
        unpacked, _ = unzip(keep, member(b"x", level=0) * 20_000, 20_000)

        assert unpacked == b"x" * 20_000

    def test_progress_is_told_after_every_piece_of_what_is_unpacked(self, keep, stack):
        """Some 64 KiB of input are 64 MiB of output, and who cancels waits for the next call."""
        large = 64 * 2**20
        source, destination = keep(gzip.compress(bytes(large))), stack.make(large)

        done = run(copy_gunzip, source, destination)

        assert len(done) >= large // PIECE
        stack.store.destroy(destination.uuid)

    def test_progress_may_end_the_copy(self, keep):
        def stop(_: int) -> None:
            raise Enough

        for copying in (copy_gzip, copy_gunzip):
            with pytest.raises(Enough):
                run(copying, keep(member(TEXT)), keep(b"", 10_000), progress=stop)

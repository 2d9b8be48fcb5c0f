"""What every `Volume` promises (src/drivebay/storage/volume.py), sentence by sentence.

A subclass gives the fixture `stack`.  `volume_machine.py` and `lock_contract.py` have the rest.
"""

import random
from itertools import pairwise

import pytest

from contract.stacks import SECTOR, Stack, holes, pattern, read, writable
from contract.volume_machine import check_histories

SIZE = 3 * SECTOR + 100
LARGE = 8 * 1024 * 1024
FETCHED = 40 * SECTOR

SIZES = [1, 511, SECTOR - 1, SECTOR, SECTOR + 1, 2 * SECTOR, 10_000, 2**20 + 1]

RANGES = [
    (0, 1),
    (0, SECTOR),
    (0, SIZE),
    (1, SECTOR),
    (SECTOR - 1, 2),
    (SECTOR, SECTOR),
    (SECTOR, 2 * SECTOR),
    (SECTOR - 1, SECTOR + 2),
    (100, 200),
    (2 * SECTOR + 5, SECTOR + 95),
    (3 * SECTOR, 100),
    (SIZE - 1, 1),
]

OUTSIDE = [(-1, 1), (-1, 0), (0, SIZE + 1), (SIZE - 1, 2), (SIZE, 1), (SIZE + 1, 0), (2**62, 1)]


def shuffled(length: int, parts: int) -> list[tuple[int, int]]:
    """Return at most so many parts of whole sectors that are *length* bytes, in some order."""
    chance = random.Random(length)
    inside = range(SECTOR, length, SECTOR)
    places = sorted(chance.sample(inside, min(parts - 1, len(inside))))
    found = [*pairwise([0, *places, length])]
    chance.shuffle(found)
    return found


class VolumeContract:
    @pytest.mark.parametrize("size", SIZES)
    def test_a_new_volume_has_its_size_and_reads_as_zeros(self, stack: Stack, size):
        with stack.make(size).open() as volume:
            assert volume.size == size
            assert read(volume) == bytes(size)

    @pytest.mark.parametrize(("offset", "length"), RANGES)
    def test_what_is_written_is_read_and_nothing_else_is_touched(
        self, stack: Stack, offset, length
    ):
        kept = stack.make(SIZE)
        before, data = pattern(SIZE), pattern(length, seed=2)
        with kept.open() as volume:
            volume.pwrite(0, writable(before))
            volume.pwrite(offset, writable(data))

            assert read(volume) == before[:offset] + data + before[offset + length :]
            assert read(volume, offset, length) == data

        with kept.open() as volume:
            assert read(volume) == before[:offset] + data + before[offset + length :]

    def test_what_is_shared_is_there_and_what_is_not_can_be_copied(self, stack: Stack):
        source, destination = stack.make(SIZE), stack.make(SIZE)
        data, before = pattern(SIZE), pattern(SIZE, seed=2)
        with source.open() as one, destination.open() as other:
            one.pwrite(0, writable(data))
            other.pwrite(0, writable(before))

            is_shared = other.share(one, SECTOR, SECTOR)

            if is_shared:
                assert (
                    read(other)
                    == before[:SECTOR] + data[SECTOR : 2 * SECTOR] + before[2 * SECTOR :]
                )
            other.pwrite(SECTOR, writable(b"mine"))
            assert read(one) == data
            with pytest.raises(AssertionError):
                other.share(one, SIZE, 1)

    @pytest.mark.parametrize("size", SIZES)
    def test_a_volume_of_any_size_is_filled_to_its_last_byte(self, stack: Stack, size):
        with stack.make(size).open() as volume:
            volume.pwrite(0, writable(pattern(size)))

            assert read(volume) == pattern(size)
            assert read(volume, size - 1, 1) == pattern(size)[-1:]

    def test_a_part_of_a_buffer_is_filled_and_the_rest_of_it_left_alone(self, stack: Stack):
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            buffer = bytearray(b"\xee" * 300)

            volume.pread(50, memoryview(buffer)[100:200])

            assert buffer == b"\xee" * 100 + pattern(SIZE)[50:150] + b"\xee" * 100

    @pytest.mark.parametrize(("offset", "length"), [*RANGES, (0, FETCHED), (SECTOR, FETCHED)])
    @pytest.mark.parametrize("parts", [1, 2, 3, 1000])
    def test_what_is_fetched_is_in_whatever_order_it_is_decoded_what_is_read(
        self, stack: Stack, offset, length, parts
    ):
        with stack.make(LARGE).open() as volume:
            volume.pwrite(0, writable(pattern(FETCHED)))
            volume.zero(SECTOR, 3 * SECTOR)
            expected = read(volume, offset, length)
            buffer = bytearray(b"\xee" * (length + 200))

            decode = volume.fetch_now(offset, memoryview(buffer)[100 : 100 + length])

            if decode is None:
                return
        for start, end in shuffled(length, parts):
            decode(start, end)
        assert buffer == b"\xee" * 100 + expected + b"\xee" * 100

    def test_what_was_fetched_is_decoded_without_the_volume(self, stack: Stack):
        buffer = bytearray(2 * SECTOR)
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            read(volume)
            with volume.locked(0, SIZE, shared=True):
                decode = volume.fetch_now(SECTOR, memoryview(buffer))
            if decode is None:
                return
            decode(SECTOR, 2 * SECTOR)
            volume.pwrite(0, writable(pattern(SIZE, seed=2)))
            volume.resize(1)

        decode(0, SECTOR)

        assert buffer == pattern(SIZE)[SECTOR : 3 * SECTOR]

    def test_nothing_is_decoded_by_a_decode_of_nothing(self, stack: Stack):
        buffer = bytearray(2 * SECTOR)
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            read(volume)
            decode = volume.fetch_now(0, memoryview(buffer))
            if decode is None:
                return

        for place in (0, SECTOR, 2 * SECTOR):
            decode(place, place)
        decode(0, 2 * SECTOR)

        assert buffer == pattern(SIZE)[: 2 * SECTOR]

    @pytest.mark.parametrize(("offset", "length"), RANGES)
    def test_a_read_without_waiting_reads_all_or_says_that_it_would_wait(
        self, stack: Stack, offset, length
    ):
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            buffer = bytearray(b"\xee" * length)

            if volume.pread_now(offset, memoryview(buffer)):
                assert buffer == pattern(SIZE)[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), RANGES)
    def test_what_cannot_be_changed_is_written_and_stays_as_it_is(
        self, stack: Stack, offset, length
    ):
        data = pattern(length)
        copy = bytes(bytearray(data))
        with stack.make(SIZE).open() as volume:
            volume.pwrite(offset, memoryview(data))

            assert read(volume, offset, length) == copy
        assert data == copy

    @pytest.mark.parametrize("offset", [0, 1, SECTOR, SIZE])
    def test_an_empty_range_is_anywhere_up_to_the_end(self, stack: Stack, offset):
        with stack.make(SIZE).open() as volume:
            volume.pread(offset, memoryview(bytearray()))
            volume.pwrite(offset, memoryview(b""))
            volume.zero(offset, 0)
            with volume.locked(offset, 0, shared=False):
                assert list(volume.extents(offset, 0)) == []

            assert read(volume) == bytes(SIZE)

    @pytest.mark.parametrize(("offset", "length"), OUTSIDE)
    def test_a_range_outside_is_the_callers_mistake_and_changes_nothing(
        self, stack: Stack, offset, length
    ):
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            with pytest.raises(AssertionError):
                volume.pread(offset, memoryview(bytearray(length)))
            with pytest.raises(AssertionError):
                volume.fetch_now(offset, memoryview(bytearray(length)))
            with pytest.raises(AssertionError):
                volume.pwrite(offset, memoryview(bytearray(length)))
            with pytest.raises(AssertionError):
                volume.zero(offset, length)
            with pytest.raises(AssertionError):
                list(volume.extents(offset, length))
            with pytest.raises(AssertionError), volume.locked(offset, length, shared=True):
                pass

            assert volume.size == SIZE
            assert read(volume) == pattern(SIZE)

    def test_objects_of_one_volume_see_each_others_bytes_at_once(self, stack: Stack):
        kept = stack.make(SIZE)
        with kept.open() as one, kept.open() as other:
            one.pwrite(10, writable(b"first"))
            assert read(other, 10, 5) == b"first"

            other.zero(11, 1)
            assert read(one, 10, 5) == b"f\0rst"

    def test_flushed_bytes_are_there_for_whoever_opens_next(self, stack: Stack):
        kept = stack.make(SIZE)
        with kept.open() as volume, kept.open() as other:
            volume.pwrite(0, writable(pattern(SIZE)))
            other.flush()
            other.flush()

        with kept.open() as volume:
            assert read(volume) == pattern(SIZE)

    def test_a_new_volume_takes_no_room(self, stack: Stack):
        with stack.make(LARGE).open() as volume:
            assert volume.allocated() < LARGE // 100
            assert sum(hole.length for hole in holes(volume)) == LARGE

    def test_data_takes_room_and_zeros_written_over_it_give_it_back(self, stack: Stack):
        with stack.make(LARGE).open() as volume:
            volume.pwrite(0, writable(pattern(LARGE)))
            volume.flush()
            assert volume.allocated() >= LARGE

            volume.pwrite(0, memoryview(bytes(LARGE)))
            volume.flush()

            assert volume.allocated() < LARGE // 100
            assert read(volume) == bytes(LARGE)

    def test_a_whole_sector_of_zeros_becomes_a_hole(self, stack: Stack):
        data = pattern(SECTOR) + bytes(SECTOR) + pattern(SECTOR + 100)
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(pattern(SIZE, seed=2)))
            volume.pwrite(0, writable(data))

            assert read(volume) == data
            assert [(hole.offset, hole.length) for hole in holes(volume)] == [(SECTOR, SECTOR)]

    @pytest.mark.parametrize(("offset", "length"), RANGES)
    def test_a_zeroed_range_reads_as_zeros_and_its_whole_sectors_are_holes(
        self, stack: Stack, offset, length
    ):
        before = pattern(SIZE)
        with stack.make(SIZE).open() as volume:
            volume.pwrite(0, writable(before))
            volume.zero(offset, length)

            assert read(volume) == before[:offset] + bytes(length) + before[offset + length :]
            first = -(-offset // SECTOR) * SECTOR
            last = (offset + length) // SECTOR * SECTOR
            if first < last:
                assert sum(hole.length for hole in holes(volume, first, last - first)) == (
                    last - first
                )

    @pytest.mark.parametrize(("offset", "length"), RANGES)
    def test_to_reserve_a_range_changes_nothing_of_what_it_holds(
        self, stack: Stack, offset, length
    ):
        with stack.make(SIZE).open() as volume:
            volume.pwrite(SECTOR + 1, writable(b"content"))
            before = read(volume)

            volume.reserve(offset, length)

            assert read(volume) == before

    def test_a_zeroed_volume_takes_no_room(self, stack: Stack):
        with stack.make(LARGE).open() as volume:
            volume.pwrite(0, writable(pattern(LARGE)))
            volume.zero(0, LARGE)
            volume.flush()

            assert volume.allocated() < LARGE // 100

    def test_extents_tell_data_from_holes(self, stack: Stack):
        with stack.make(64 * SECTOR).open() as volume:
            volume.pwrite(16 * SECTOR, writable(pattern(8 * SECTOR)))
            volume.pwrite(40 * SECTOR + 17, writable(b"one byte more"))

            found = [(hole.offset, hole.end) for hole in holes(volume)]

        assert found == [
            (0, 16 * SECTOR),
            (24 * SECTOR, 40 * SECTOR),
            (41 * SECTOR, 64 * SECTOR),
        ]

    @pytest.mark.parametrize(("offset", "length"), RANGES)
    def test_extents_cover_any_range_exactly(self, stack: Stack, offset, length):
        with stack.make(SIZE).open() as volume:
            volume.pwrite(SECTOR + 1, writable(b"x"))

            for hole in holes(volume, offset, length):
                assert read(volume, hole.offset, hole.length) == bytes(hole.length)

    @pytest.mark.parametrize("larger", [SIZE + 1, 4 * SECTOR, 5 * SECTOR + 7, LARGE])
    @pytest.mark.parametrize("size", [1, SECTOR, SIZE])
    def test_grown_space_reads_as_zeros(self, stack: Stack, size, larger):
        kept = stack.make(size)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(size)))
            volume.resize(larger)

            assert volume.size == larger
            assert read(volume) == pattern(size) + bytes(larger - size)
            volume.pwrite(larger - 1, writable(b"!"))

        with kept.open(larger) as volume:
            assert volume.size == larger
            assert read(volume) == pattern(size) + bytes(larger - size - 1) + b"!"

    @pytest.mark.parametrize("between", [0, 1, 100, SECTOR - 1, SECTOR, SECTOR + 1, SIZE - 1])
    @pytest.mark.parametrize("last", [SIZE, 2 * SECTOR, 5 * SECTOR + 1])
    def test_bytes_that_were_cut_off_never_come_back(self, stack: Stack, between, last):
        kept = stack.make(SIZE)
        left = pattern(SIZE)[: min(between, last)]
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            volume.resize(between)
            assert volume.size == between
            assert read(volume) == pattern(SIZE)[:between]
            volume.resize(last)
            assert read(volume) == left + bytes(last - len(left))

        with kept.open(last) as volume:
            assert read(volume) == left + bytes(last - len(left))

    def test_a_shrunk_volume_gives_room_back(self, stack: Stack):
        with stack.make(LARGE).open() as volume:
            volume.pwrite(0, writable(pattern(LARGE)))
            volume.resize(SECTOR)
            volume.flush()

            assert volume.allocated() < LARGE // 100

    def test_closing_twice_does_nothing_and_other_objects_stay_open(self, stack: Stack):
        kept = stack.make(SIZE)
        with kept.open() as other:
            volume = kept.open()
            volume.pwrite(0, writable(b"kept"))
            volume.close()
            volume.close()

            assert read(other, 0, 4) == b"kept"

    def test_any_history_reads_as_it_does_beside_plain_bytes(self, stack: Stack):
        check_histories(stack)

"""What `Volume.locked` promises: over objects and threads; `test_file_store.py` adds processes.

A subclass gives the fixture `stack`.
"""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from contract.stacks import SECTOR, Kept, Stack, pattern, read, writable
from drivebay.storage.volume import Volume

SIZE = 4 * SECTOR
LONG_S = 60
"""Longer than anything here takes: a guard against a hang."""

SHORT_S = 0.02
"""How long one who must wait is watched while he waits."""

TURNS = 50


@contextmanager
def busy_threads() -> Iterator[ThreadPoolExecutor]:
    """Give threads that change turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            yield pool
    finally:
        sys.setswitchinterval(interval)


def must_wait(kept: Kept, volume: Volume, held: tuple[int, int], wanted: tuple[int, int], **modes):
    """Return whether *wanted* is given only when *held* has been given back."""
    has_it = threading.Event()

    def want() -> None:
        with kept.open() as other, other.locked(*wanted, shared=modes["wanted_shared"]):
            has_it.set()

    with ThreadPoolExecutor(1) as pool:
        with volume.locked(*held, shared=modes["held_shared"]):
            asked = pool.submit(want)
            was_given = has_it.wait(SHORT_S)
        asked.result(LONG_S)
    return not was_given


def count_up(kept: Kept, *, at: int, span: tuple[int, int], turns: int = TURNS) -> None:
    """Add *turns* to the number at *at*, each time under the lock on *span*."""
    with kept.open() as volume:
        for _ in range(turns):
            with volume.locked(*span, shared=False):
                number = int.from_bytes(read(volume, at, 8), "little")
                volume.pwrite(at, writable((number + 1).to_bytes(8, "little")))


class LockContract:
    @pytest.mark.parametrize(
        ("held_shared", "wanted_shared"), [(True, False), (False, True), (False, False)]
    )
    @pytest.mark.parametrize("wanted", [(0, SIZE), (SECTOR, 1), (2 * SECTOR - 1, SECTOR)])
    def test_an_exclusive_holder_and_another_exclude_each_other(
        self, stack: Stack, wanted, held_shared, wanted_shared
    ):
        kept = stack.make(SIZE)
        with kept.open() as volume:
            assert must_wait(
                kept,
                volume,
                (SECTOR, SECTOR),
                wanted,
                held_shared=held_shared,
                wanted_shared=wanted_shared,
            )

    def test_shared_holders_hold_at_the_same_time(self, stack: Stack):
        kept = stack.make(SIZE)
        together = threading.Barrier(3, timeout=LONG_S)

        def hold() -> None:
            with kept.open() as volume, volume.locked(0, SIZE, shared=True):
                together.wait()

        with ThreadPoolExecutor(3) as pool:
            for held in [pool.submit(hold) for _ in range(3)]:
                held.result(LONG_S)

    @pytest.mark.parametrize("span", [(0, SECTOR), (2 * SECTOR, 2 * SECTOR), (SECTOR, 0)])
    def test_ranges_that_share_no_sector_are_held_at_the_same_time(self, stack: Stack, span):
        kept = stack.make(SIZE)
        with (
            kept.open() as one,
            kept.open() as other,
            one.locked(SECTOR, SECTOR, shared=False),
            other.locked(*span, shared=False),
        ):
            pass

    def test_volumes_do_not_share_their_locks(self, stack: Stack):
        with (
            stack.make(SIZE).open() as one,
            stack.make(SIZE).open() as other,
            one.locked(0, SIZE, shared=False),
            other.locked(0, SIZE, shared=False),
        ):
            pass

    def test_an_empty_range_excludes_nobody(self, stack: Stack):
        kept = stack.make(SIZE)
        with (
            kept.open() as one,
            kept.open() as other,
            one.locked(SECTOR, 0, shared=False),
            other.locked(0, SIZE, shared=False),
        ):
            pass

    def test_a_failure_inside_gives_the_range_back(self, stack: Stack):
        kept = stack.make(SIZE)
        with kept.open() as volume, kept.open() as other:
            with pytest.raises(KeyError), volume.locked(0, SIZE, shared=False):
                raise KeyError
            with other.locked(0, SIZE, shared=False):
                pass

    def test_one_object_locks_the_same_range_again_and_again(self, stack: Stack):
        kept = stack.make(SIZE)
        with kept.open() as volume, kept.open() as other:
            for shared in (True, False, True):
                with volume.locked(0, SIZE, shared=shared):
                    pass
            with other.locked(0, SIZE, shared=False):
                pass

    @pytest.mark.parametrize("beside", [(0, 8), (SECTOR - 8, 8), (1000, 8)])
    def test_writers_of_one_sector_who_lock_their_own_bytes_lose_nothing(
        self, stack: Stack, beside
    ):
        """The range is widened to what one `pwrite` touches: encryption rewrites the sector."""
        kept = stack.make(SIZE)
        places = [(16, 8), (2048, 8), (3000, 8), beside]
        with busy_threads() as pool:
            counted = [pool.submit(count_up, kept, at=at, span=(at, n)) for at, n in places]
            for one in counted:
                one.result(LONG_S)

        with kept.open() as volume:
            numbers = [int.from_bytes(read(volume, at, 8), "little") for at, _ in places]
        assert numbers == [TURNS] * 4

    def test_exclusive_holders_take_turns(self, stack: Stack):
        kept = stack.make(SIZE)
        with busy_threads() as pool:
            counted = [pool.submit(count_up, kept, at=SECTOR - 4, span=(0, SIZE)) for _ in range(4)]
            for one in counted:
                one.result(LONG_S)

        with kept.open() as volume:
            assert int.from_bytes(read(volume, SECTOR - 4, 8), "little") == 4 * TURNS

    def test_no_reader_sees_half_of_a_locked_write(self, stack: Stack):
        kept = stack.make(SIZE)
        versions = [pattern(1, seed) * SIZE for seed in range(5)]

        def look() -> set[int]:
            seen = set()
            with kept.open() as volume:
                for _ in range(4 * TURNS):
                    with volume.locked(0, SIZE, shared=True):
                        seen.add(len(set(read(volume))))
            return seen

        with busy_threads() as pool, kept.open() as volume:
            lookers = [pool.submit(look) for _ in range(2)]
            for turn in range(TURNS):
                with volume.locked(0, SIZE, shared=False):
                    volume.pwrite(0, writable(versions[turn % 5][: SIZE // 2]))
                    volume.pwrite(SIZE // 2, writable(versions[turn % 5][SIZE // 2 :]))
            seen = {kinds for looker in lookers for kinds in looker.result(LONG_S)}

        assert seen == {1}

"""Counters: exact over threads, processes and their deaths."""

import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from drivebay.errors import StorageFailed
from drivebay.service.counters import Counters, Totals

LONG_S = 60

CHILD = """
import sys
from pathlib import Path
from drivebay.service.counters import Counters

counters = Counters(Path(sys.argv[1]), sys.argv[2])
for number in range(int(sys.argv[3])):
    counters.add_read(7, 2**40)
    counters.add_write(number % 3, 1)
print("counted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path):
    for name in ("one", "other", "third"):
        (tmp_path / name).touch(mode=0o600)
    return tmp_path


@pytest.fixture
def counters(folder: Path):
    made = Counters(folder, "one", ["one", "other", "third"])
    yield made
    made.close()


def count(folder: Path, writer: str, times: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), writer, str(times)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_never_counted_is_nothing(counters):
    assert counters.totals(0) == counters.totals(2**31) == Totals()


def test_reads_and_writes_are_counted_apart_for_each_drive(counters):
    counters.add_read(1, 100)
    counters.add_read(1, 0)
    counters.add_write(1, 4096)
    counters.add_write(2, 5)

    assert counters.totals(1) == Totals(100, 2, 4096, 1)
    assert counters.totals(2) == Totals(0, 0, 5, 1)
    assert counters.totals(0) == counters.totals(3) == Totals()


def test_a_drive_with_a_large_number_takes_no_room_for_those_below(counters, folder):
    counters.add_read(10_000_000, 1)

    assert counters.totals(10_000_000) == Totals(1, 1, 0, 0)
    assert (folder / "one").stat().st_blocks * 512 < 2**16


def test_sums_over_several_files_may_be_past_64_bits(counters, folder):
    for name in ("other", "third"):
        with closing(Counters(folder, name)) as other:
            other.add_read(1, 2**64 - 1)

    assert counters.totals(1) == Totals(2**65 - 2, 2, 0, 0)


def test_threads_lose_nothing(counters):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(lambda: [counters.add_write(1, 3) for _ in range(500)])
    finally:
        sys.setswitchinterval(interval)

    assert counters.totals(1) == Totals(0, 0, 6000, 2000)


def test_processes_are_added_up_while_they_run_and_after_they_are_killed(counters, folder):
    counters.add_read(7, 1)
    with count(folder, "other", 300) as one, count(folder, "third", 30) as other:
        assert [one.stdout.readline(), other.stdout.readline()] == ["counted\n"] * 2
        running = counters.totals(7)
        for process in (one, other):
            process.send_signal(signal.SIGKILL)

    assert running == Totals(330 * 2**40 + 1, 331, 0, 0)
    assert counters.totals(7) == running
    assert counters.totals(0) == Totals(0, 0, 110, 110)
    with closing(Counters(folder, "other", ["one", "third"])) as again:
        again.add_read(7, 1)
        assert again.totals(7) == Totals(330 * 2**40 + 2, 332, 0, 0)


def test_a_count_never_goes_down_while_others_count(counters, folder):
    seen = []
    with count(folder, "other", 3000) as process:
        while not seen or seen[-1] < 3000:
            assert process.poll() is None
            seen.append(counters.totals(7).read_requests)
        process.communicate("", timeout=LONG_S)

    assert seen == sorted(seen)


def test_flushing_makes_durable_what_is_new_and_nothing_else(counters, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)

    counters.flush()
    assert flushed == []
    counters.add_read(1, 1)
    counters.flush()
    counters.flush()
    assert len(flushed) == 1


def test_a_failed_flush_is_made_good_by_the_next(counters, monkeypatch):
    """Counts may be lost with the power; they are not to be forgotten while it is on."""
    flushed = []

    def fail_once(fd: int) -> None:
        flushed.append(fd)
        if len(flushed) == 1:
            raise OSError

    monkeypatch.setattr(os, "fdatasync", fail_once)
    counters.add_read(1, 1)

    with pytest.raises(OSError):
        counters.flush()
    counters.flush()

    assert len(flushed) == 2


def test_a_count_that_cannot_be_written_is_a_failure_of_the_store(counters, monkeypatch):
    counters.add_read(1, 5)
    monkeypatch.setattr(os, "pwrite", lambda *_: 16)
    with pytest.raises(StorageFailed, match="count the transfer"):
        counters.add_read(1, 5)

    def no_room(*_) -> int:
        raise OSError

    monkeypatch.setattr(os, "pwrite", no_room)
    with pytest.raises(StorageFailed, match="count the transfer"):
        counters.add_write(1, 5)
    monkeypatch.undo()

    assert counters.totals(1) == Totals(5, 1, 0, 0)


@contextmanager
def files_no_longer_than(length: int):
    """Have the kernel refuse, or cut, what would make a file longer (getrlimit(2))."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 8, 16, 24, 31])
@pytest.mark.parametrize("times", [0, 1, 300])
def test_a_count_that_the_disk_refuses_or_cuts_is_not_counted(counters, folder, room, times):
    """Of the record's 32 bytes *room* are written; other processes read what the file has."""
    for _ in range(times):
        counters.add_read(3, 5)
    before = Totals(5 * times, times, 0, 0)

    with files_no_longer_than(3 * 32 + room):
        for _ in range(2):
            with pytest.raises(StorageFailed, match="count the transfer"):
                counters.add_read(3, 5)

            assert counters.totals(3) == before

    with closing(Counters(folder, "other", ["one"])) as other:
        assert other.totals(3) == before
        counters.add_read(3, 7)
        assert other.totals(3) == Totals(5 * times + 7, times + 1, 0, 0)


def test_what_is_kept_of_many_drives_stays_exact(counters, folder, monkeypatch):
    monkeypatch.setattr("drivebay.service.counters._RECORDS_KEPT", 3)
    for turn in range(5):
        for number in range(10):
            counters.add_read(number, number)
            counters.add_write(number, turn)

    for number in range(10):
        assert counters.totals(number) == Totals(5 * number, 5, 10, 5)
    with closing(Counters(folder, "other", ["one"])) as other:
        assert other.totals(9) == counters.totals(9)


def test_who_takes_over_a_file_goes_on_from_what_is_in_it(folder):
    for turn in range(3):
        with closing(Counters(folder, "one")) as counters:
            counters.add_read(1, 10)
            counters.add_write(1, 1)
            assert counters.totals(1) == Totals(10 * turn + 10, turn + 1, turn + 1, turn + 1)


def test_what_another_process_counts_is_seen_beside_what_is_kept_here(counters, folder):
    with closing(Counters(folder, "other")) as other:
        for turn in range(1, 4):
            counters.add_read(1, 1)
            other.add_read(1, 100)

            assert counters.totals(1) == Totals(101 * turn, 2 * turn, 0, 0)


def test_closing_twice_does_nothing(folder):
    counters = Counters(folder, "one")
    counters.close()
    counters.close()


def test_the_files_of_others_must_be_there(folder):
    with pytest.raises(FileNotFoundError):
        Counters(folder, "one", ["nobody"])

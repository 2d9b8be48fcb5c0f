"""Flushes that are shared: nobody returns before a flush that began after his call has ended."""

import threading

import pytest

from drivebay.storage.flushes import SharedFlush

LONG_S = 60
"""Longer than anything here takes: a guard against a hang."""


class Disk:
    """A flush that a test holds up, and that knows what it made durable."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.began = threading.Semaphore(0)
        self.count = 0
        self.written: set[int] = set()
        self.durable: set[int] = set()
        self.failure: OSError | None = None

    def flush(self) -> None:
        seen = set(self.written)
        self.count += 1
        self.began.release()
        self.may_end.wait(LONG_S)
        if self.failure is not None:
            raise self.failure
        self.durable |= seen


@pytest.fixture
def disk():
    return Disk()


def test_those_who_come_during_a_flush_share_the_next_one(disk):
    shared, done = SharedFlush(), []
    first = threading.Thread(target=shared.run, args=(disk.flush,))
    first.start()
    disk.began.acquire()

    def write(number: int) -> None:
        disk.written.add(number)
        shared.run(disk.flush)
        done.append(number in disk.durable)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    while len(disk.written) < 8 or shared.waiting() < 9:
        pass
    disk.may_end.set()
    for thread in (first, *writers):
        thread.join(LONG_S)

    assert done == [True] * 8
    assert disk.count == 2


def test_a_failure_is_told_to_everybody_who_shared_it_and_to_nobody_else(disk):
    shared = SharedFlush()
    disk.failure = OSError(5, "a broken disk")
    disk.may_end.set()

    with pytest.raises(OSError, match="broken disk"):
        shared.run(disk.flush)
    disk.failure = None
    shared.run(disk.flush)

    assert disk.count == 2


def test_a_thousand_writers_each_find_their_bytes_durable(disk):
    shared, missed = SharedFlush(), []
    disk.may_end.set()

    def write(start: int) -> None:
        for number in range(start, start + 100):
            disk.written.add(number)
            shared.run(disk.flush)
            if number not in disk.durable:
                missed.append(number)

    writers = [threading.Thread(target=write, args=(100 * n,)) for n in range(10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(LONG_S)

    assert missed == []
    assert disk.count <= 1000

"""Locks on ranges of a file: whom they keep out, and when they end."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivebay.storage.ranges import try_lock, unlock, wait_lock

FAR = 2**62


@pytest.fixture
def open_file(tmp_path):
    """Open the same file anew, as each holder does."""
    opened = []

    def open_again(flags: int = os.O_RDWR) -> int:
        opened.append(os.open(tmp_path / "locks", flags | os.O_CREAT, 0o600))
        return opened[-1]

    yield open_again
    for fd in opened:
        os.close(fd)


def is_free(fd: int, offset: int, length: int, *, shared: bool = False) -> bool:
    if not try_lock(fd, offset, length, shared=shared):
        return False
    unlock(fd, offset, length)
    return True


@pytest.mark.parametrize(
    ("held_shared", "wanted_shared", "given"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_shared_holders_exclude_exclusive_ones(open_file, held_shared, wanted_shared, given):
    holder, other = open_file(), open_file()
    wait_lock(holder, 10, 10, shared=held_shared)

    assert try_lock(other, 15, 1, shared=wanted_shared) == given


@pytest.mark.parametrize("base", [0, FAR])
def test_a_lock_reaches_from_its_first_to_its_last_byte(open_file, base):
    holder, other = open_file(), open_file()
    assert try_lock(holder, base + 10, 10, shared=False)

    assert is_free(other, base, 10)
    assert is_free(other, base + 20, 10)
    assert not is_free(other, base + 9, 2)
    assert not is_free(other, base + 19, 2)
    assert not is_free(other, base, 100)


def test_a_length_of_zero_reaches_to_the_end(open_file):
    holder, other = open_file(), open_file()
    assert try_lock(holder, 10, 0, shared=False)

    assert is_free(other, 0, 10)
    assert not is_free(other, 2**63 - 2, 1)


def test_a_part_may_be_given_back(open_file):
    holder, other = open_file(), open_file()
    assert try_lock(holder, 0, 30, shared=False)
    unlock(holder, 10, 10)

    assert is_free(other, 10, 10)
    assert not is_free(other, 9, 1)
    assert not is_free(other, 20, 1)


def test_locks_of_one_open_file_never_wait_for_each_other(open_file):
    holder = open_file()
    assert try_lock(holder, 0, 10, shared=False)

    assert try_lock(holder, 0, 10, shared=True)
    copy = os.dup(holder)
    assert try_lock(copy, 0, 10, shared=False)
    os.close(copy)


def test_a_lock_ends_with_the_last_descriptor_of_its_open_file(open_file, tmp_path):
    other = open_file()
    holder = os.open(tmp_path / "locks", os.O_RDWR)
    assert try_lock(holder, 0, 10, shared=False)
    copy = os.dup(holder)

    os.close(holder)
    assert not is_free(other, 0, 10)
    os.close(copy)
    assert is_free(other, 0, 10)


def test_closing_another_descriptor_of_the_file_ends_no_lock(open_file, tmp_path):
    """Locks of a process (F_SETLK) would be gone."""
    holder, other = open_file(), open_file()
    assert try_lock(holder, 0, 10, shared=False)

    os.close(os.open(tmp_path / "locks", os.O_RDONLY))

    assert not is_free(other, 0, 10)


def test_one_who_waits_gets_the_lock_when_it_is_free(open_file):
    holder, other = open_file(), open_file()
    wait_lock(holder, 0, 10, shared=False)
    has_it = threading.Event()

    def want() -> None:
        wait_lock(other, 5, 10, shared=True)
        has_it.set()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(want)
        assert not has_it.wait(0.02)
        unlock(holder, 0, 10)
        asked.result(60)

    assert not is_free(holder, 0, 10)


def test_a_file_that_cannot_be_locked_is_a_failure_and_not_a_busy_one(open_file):
    read_only = open_file(os.O_RDONLY)

    with pytest.raises(OSError, match="Bad file descriptor"):
        try_lock(read_only, 0, 1, shared=False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        wait_lock(read_only, 0, 1, shared=False)
    assert try_lock(read_only, 0, 1, shared=True)

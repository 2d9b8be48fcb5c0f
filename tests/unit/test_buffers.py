"""Buffers are lent to one at a time, and few are kept."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivebay.http.buffers import Buffers
from drivebay.model import TRANSFER_MAX


@pytest.fixture
def buffers():
    return Buffers()


def test_one_is_as_long_as_the_longest_transfer(buffers):
    assert len(buffers.take()) == TRANSFER_MAX


def test_what_was_given_back_last_is_given_out_first(buffers):
    first, second = buffers.take(), buffers.take()
    buffers.give(first)
    buffers.give(second)

    assert buffers.take() is second
    assert buffers.take() is first
    third = buffers.take()
    assert third is not first
    assert third is not second


def test_a_burst_of_transfers_does_not_keep_its_memory(buffers):
    taken = [buffers.take() for _ in range(32)]
    for buffer in taken:
        buffers.give(buffer)

    kept = [buffers.take() for _ in range(32)]

    assert sum(any(one is other for other in taken) for one in kept) == 4


@pytest.mark.parametrize("length", [0, 1, TRANSFER_MAX])
def test_a_part_is_lent_and_comes_back(buffers, length):
    with buffers.lent(length) as view:
        lent = view.obj
        assert len(view) == length
        assert buffers.take() is not lent

    assert buffers.take() is lent


def test_what_fails_gives_back_what_it_was_lent(buffers):
    lent = buffers.take()
    buffers.give(lent)

    with pytest.raises(KeyError), buffers.lent(10):
        raise KeyError

    assert buffers.take() is lent


def test_no_two_threads_have_one_at_the_same_moment(buffers):
    held: set[int] = set()
    lock = threading.Lock()

    def work(_: int) -> bool:
        with buffers.lent(16) as view:
            name = id(view.obj)
            with lock:
                is_mine = name not in held
                held.add(name)
            with lock:
                held.discard(name)
        return is_mine

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(3000)))

"""Waiting for the next request: who looks for it before sleeping, and who does not."""

import socket
from collections.abc import Iterator

import pytest

from drivebay.nbd import waiting
from drivebay.nbd.waiting import MOMENT_S, Waiting


class Clock:
    """A clock that goes on by a step each time that somebody looks at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = MOMENT_S / 10
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "perf_counter", made)
    return made


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    client, server = socket.socketpair()
    with client, server:
        yield client, server


def looked(clock: Clock, one: Waiting) -> int:
    """Return how often the clock was looked at in a wait's beginning."""
    before = clock.looks
    one.begin(is_alone=True)
    return clock.looks - before


def test_a_new_connection_sleeps_at_once(clock, ends):
    assert looked(clock, Waiting(ends[1])) == 1


def test_after_a_short_wait_it_looks_for_a_moment_and_no_longer(clock, ends):
    one = Waiting(ends[1])
    one.begin(is_alone=True)
    one.end()

    before = clock.now

    assert looked(clock, one) > 5
    assert clock.now - before < 2 * MOMENT_S


def test_after_a_long_wait_it_sleeps_at_once(clock, ends):
    one = Waiting(ends[1])
    one.begin(is_alone=True)
    one.end()
    one.begin(is_alone=True)
    clock.now += MOMENT_S
    one.end()

    assert looked(clock, one) == 1


def test_a_client_with_several_requests_under_way_is_not_looked_for(clock, ends):
    one = Waiting(ends[1])
    one.begin(is_alone=True)
    one.end()
    before = clock.looks

    one.begin(is_alone=False)

    assert clock.looks == before + 1


def test_it_ends_to_look_when_something_has_come(clock, ends):
    client, server = ends
    one = Waiting(server)
    one.begin(is_alone=True)
    one.end()
    client.send(b"request")

    assert looked(clock, one) <= 2


def test_it_ends_to_look_when_the_client_is_gone(clock, ends):
    client, server = ends
    one = Waiting(server)
    one.begin(is_alone=True)
    one.end()
    client.close()

    assert looked(clock, one) <= 2


def test_one_connection_of_a_process_looks_at_a_time(clock, ends):
    one = Waiting(ends[1])
    one.begin(is_alone=True)
    one.end()

    with waiting._looking:
        assert looked(clock, one) == 1

    assert looked(clock, one) > 5

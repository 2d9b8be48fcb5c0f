"""Bulk transfers beside each other: each caller gets its own bytes, whatever the others do."""

import os
import socket
import struct
import threading
from itertools import pairwise

import pytest

from drivebay.units import KIB, MIB
from live import Server, drained
from wire.exchange import Caller, Wire, eventually, request
from wire.processes import workers

NOISE = os.urandom(4 * MIB)

ALWAYS_OPEN = 8
"""More sockets than a worker has without a connection: its listener and the event loop's own."""


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """A caller of a service with one worker, so that all transfers are in one process."""
    running = Server(
        tmp_path_factory.mktemp("lone"), workers=1, options=["--transfers-per-user", "64"]
    )
    try:
        yield Caller(running.start(), running.first)
    finally:
        running.close()


@pytest.fixture(scope="module", params=["aes-xts-plain", "none"])
def big(lone, request) -> str:
    """A drive of 4 MiB of noise."""
    drive = lone.create(f"size 4M\nencryption:cipher {request.param}")
    lone.write(drive, NOISE)
    return drive


def reading(caller: Caller, drive: str, offset: int, length: int, *headers: str) -> bytes:
    path = f"/drives/{drive}/read/{offset}/{length}"
    return request("GET", path, user=caller.user, headers=headers)


class Narrow(Wire):
    """A connection with so small a buffer that most of an answer waits in the service."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.socket.close()
        self.socket = socket.socket()
        # Before it connects: a window that shrinks later makes the kernel wait between packets.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KIB)
        self.socket.settimeout(60)
        self.socket.connect((server.host, server.port))


def test_slow_readers_get_their_bytes_while_fast_ones_are_served(lone, big):
    slow = [Narrow(lone.server) for _ in range(3)]
    received = [bytearray() for _ in slow]
    for wire in slow:
        wire.send(reading(lone, big, 0, 4 * MIB, "Connection: close"))

    with Wire(lone.server) as fast:
        for _ in range(20):
            for wire, parts in zip(slow, received, strict=True):
                parts.extend(wire.socket.recv(10_000))
            assert fast.send(reading(lone, big, 0, 4 * MIB)).answer().body == NOISE

    for wire, parts in zip(slow, received, strict=True):
        assert len(parts) < 2 * MIB
        start, _, body = bytes(parts + drained(wire.socket)).partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == NOISE
        wire.close()


RANGES = [
    (0, 4 * MIB),
    (5, 1),
    (4 * MIB - 1, 1),
    (0, 64 * KIB),
    (1, 64 * KIB),
    (0, 64 * KIB + 1),
    (4095, 4 * MIB - 4095),
    (0, 0),
    (MIB, MIB),
    (4 * MIB - 5000, 5000),
    (7, 3 * MIB),
    (4 * MIB, 0),
]


@pytest.mark.parametrize("connect", [Wire, Narrow], ids=["wide", "narrow"])
def test_large_and_small_reads_sent_at_once_are_answered_in_order(lone, big, connect):
    with connect(lone.server) as wire:
        wire.send(b"".join(reading(lone, big, *place) for place in RANGES))

        for offset, length in RANGES:
            answer = wire.answer()
            assert answer.status == 200
            assert answer.body == NOISE[offset : offset + length]


def test_a_refused_read_between_others_is_answered_in_its_place(lone, big):
    asked = [
        reading(lone, big, 0, 4 * MIB),
        reading(lone, big, 1, 4 * MIB),
        reading(lone, big, 0, 2 * MIB),
        reading(lone, big, 0, 4 * MIB + 1),
        reading(lone, big, MIB, 2 * MIB),
    ]
    with Wire(lone.server) as wire:
        wire.send(*asked)

        answers = [wire.answer() for _ in asked]

    assert [answer.status for answer in answers] == [200, 400, 200, 400, 200]
    assert answers[0].body == NOISE
    assert answers[2].body == NOISE[: 2 * MIB]
    assert answers[4].body == NOISE[MIB : 3 * MIB]


def test_a_head_between_reads_has_a_length_and_no_body(lone, big):
    with Wire(lone.server) as wire:
        for length in (1, 64 * KIB, 4 * MIB):
            path = f"/drives/{big}/read/0/{length}"
            wire.send(
                reading(lone, big, 0, length),
                request("HEAD", path, user=lone.user),
                reading(lone, big, 0, length),
            )

            assert wire.answer().body == NOISE[:length]
            head = wire.answer(has_body=False)
            assert (head.status, head.headers["content-length"]) == (200, str(length))
            assert wire.answer().body == NOISE[:length]


@pytest.mark.parametrize("connect", [Wire, Narrow], ids=["wide", "narrow"])
def test_who_only_stops_sending_gets_every_answer_and_then_the_end(lone, big, connect):
    places = [(0, 4 * MIB), (3, 5), (MIB, 3 * MIB)]
    with connect(lone.server) as wire:
        wire.send(*(reading(lone, big, *place) for place in places))
        wire.half_close()

        for offset, length in places:
            assert wire.answer().body == NOISE[offset : offset + length]
        assert wire.is_closed()


def test_writes_and_reads_sent_at_once_take_effect_in_order(lone):
    drive = lone.create("size 4M")
    other = NOISE[::-1]
    asked = []
    for content in (NOISE, other):
        asked += [
            request("POST", f"/drives/{drive}/write", content, user=lone.user),
            reading(lone, drive, 0, 4 * MIB),
            reading(lone, drive, 10, 100),
        ]
    with Wire(lone.server) as wire:
        sender = threading.Thread(target=wire.send, args=asked)
        sender.start()

        for content in (NOISE, other):
            assert wire.answer().status == 204
            assert wire.answer().body == content
            assert wire.answer().body == content[10:110]
        sender.join(60)


def reset(wire: Wire) -> None:
    """Hang up with a reset, in the middle of whatever comes."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def test_readers_that_reset_in_the_middle_harm_nobody_and_leave_nothing(lone, big):
    """Many at once, at every place of the answer: in its head, its first piece, its rest."""
    (worker,) = workers(lone.server)
    assert lone.read(big, 0, 4 * MIB) == NOISE
    eventually(lambda: worker.sockets <= ALWAYS_OPEN)
    failures = []

    def read_on() -> None:
        with Wire(lone.server) as wire:
            for offset, end in [*pairwise(range(0, 4 * MIB, 400_000))] * 3:
                answer = wire.send(reading(lone, big, offset, end - offset)).answer()
                if answer.body != NOISE[offset:end]:
                    failures.append(answer)

    others = [threading.Thread(target=read_on) for _ in range(2)]
    for other in others:
        other.start()
    for turn in range(5):
        wires = [Narrow(lone.server) if number % 2 else Wire(lone.server) for number in range(20)]
        for wire in wires:
            wire.send(reading(lone, big, 0, 4 * MIB))
        for number, wire in enumerate(wires):
            if number % 5:
                wire.socket.recv(1 + number * turn * 5_000)
            reset(wire)
    for other in others:
        other.join(60)

    assert failures == []
    eventually(lambda: worker.sockets <= ALWAYS_OPEN)
    assert lone.read(big, 0, 4 * MIB) == NOISE

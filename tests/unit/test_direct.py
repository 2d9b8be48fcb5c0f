"""Sending from a thread: every byte once, decoded once, in order, whatever the caller does."""

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.stacks import SECTOR, pattern
from drivebay.errors import StorageFailed
from drivebay.http import direct
from drivebay.http.direct import PIECE, Broken, DirectSender
from drivebay.units import KIB, MIB

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 123\r\n\r\n"
CONTENT = pattern(4 * MIB)
LONG_S = 60
_FLIP = bytes(byte ^ 0x5A for byte in range(256))
STORED = CONTENT.translate(_FLIP)


class Stored:
    """A buffer as it is stored, its `Decode`, and what has been decoded of it."""

    def __init__(self, length: int) -> None:
        self.buffer = bytearray(STORED[:length])
        self.decoded: list[tuple[int, int]] = []

    def decode(self, start: int, end: int) -> None:
        for place in (start, end):
            assert place % SECTOR == 0 or place == len(self.buffer)
        self.buffer[start:end] = self.buffer[start:end].translate(_FLIP)
        if start < end:
            self.decoded.append((start, end))

    def require_decoded_once(self) -> None:
        """Check that the parts are the whole, in order and without overlap."""
        at = 0
        for start, end in self.decoded:
            assert start == at
            at = end
        assert at == len(self.buffer)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


KINDS = [pytest.param(tcp_pair, id="tcp"), pytest.param(socket.socketpair, id="unix")]


@contextmanager
def connected(make, *, room: int | None = None) -> Iterator[tuple[DirectSender, socket.socket]]:
    """Yield a sender, with about *room* bytes in the kernel, and the caller's end."""
    with ExitStack() as opened:
        ours, callers = (opened.enter_context(end) for end in make())
        if room is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            callers.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        ours.setblocking(False)
        callers.settimeout(LONG_S)
        sender = opened.enter_context(closing(DirectSender(os.dup(ours.fileno()))))
        yield sender, callers


class Caller:
    """Reads in a thread: *first* bytes, then nothing until `go_on`, then everything."""

    def __init__(self, end: socket.socket, first: int) -> None:
        self._end = end
        self._first = first
        self._go_on = threading.Event()
        self._received = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while len(self._received) < self._first:
            part = self._end.recv(min(self._first - len(self._received), 256 * KIB))
            if not part:
                return
            self._received += part
        self._go_on.wait(LONG_S)
        while part := self._end.recv(256 * KIB):
            self._received += part

    def go_on(self) -> None:
        self._go_on.set()

    def received(self, sender: DirectSender) -> bytes:
        """Return all that was sent until the end, which is now."""
        self._go_on.set()
        with socket.socket(fileno=os.dup(sender._fd)) as ours:
            ours.shutdown(socket.SHUT_WR)
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()
        return bytes(self._received)


@settings(max_examples=40)
@given(
    make=st.sampled_from([tcp_pair, socket.socketpair]),
    room=st.sampled_from([None, 1, 8 * KIB, 100_000, 2 * MIB]),
    head_length=st.sampled_from([1, len(HEAD), 5000, 700_000]),
    length=st.sampled_from([1, SECTOR, PIECE, PIECE + SECTOR, 4 * MIB]) | st.integers(1, 4 * MIB),
    first=st.sampled_from([0, 1, 100, 10**9]) | st.integers(0, 4 * MIB),
)
def test_what_arrives_and_what_is_left_over_are_the_answer_decoded_once(
    make, room, head_length, length, first
):
    head, stored = pattern(head_length, seed=2), Stored(length)
    with connected(make, room=room) as (sender, end):
        caller = Caller(end, first)

        rest = sender.send(head, memoryview(stored.buffer), stored.decode)

        left = bytes(rest)
        stored.require_decoded_once()
        assert caller.received(sender) + left == head + CONTENT[:length]


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(direct, "PATIENCE_S", LONG_S)


# TCP gets along with little room, but the kernel then waits between packets.
@pytest.mark.parametrize(
    ("make", "room"),
    [(tcp_pair, None), (tcp_pair, MIB), (socket.socketpair, None), (socket.socketpair, 1)],
    ids=["tcp", "tcp small", "unix", "unix small"],
)
@pytest.mark.parametrize("length", [1, PIECE - 1, PIECE, PIECE + 1, 4 * MIB])
def test_a_caller_that_reads_gets_everything_from_the_thread(patient, make, room, length):
    stored = Stored(length)
    with connected(make, room=room) as (sender, end):
        caller = Caller(end, 10**9)

        rest = sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        assert bytes(rest) == b""
        stored.require_decoded_once()
        assert caller.received(sender) == HEAD + CONTENT[:length]


@pytest.mark.parametrize("make", KINDS)
def test_answers_one_after_another_do_not_mix(patient, make):
    lengths = [1, 3 * MIB, SECTOR, PIECE + 5, 17]
    with connected(make) as (sender, end):
        caller = Caller(end, 10**9)

        for length in lengths:
            stored = Stored(length)
            select.select([], [sender._fd], [], LONG_S)  # Else the head itself may find no room.
            assert not sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        expected = b"".join(HEAD + CONTENT[:length] for length in lengths)
        assert caller.received(sender) == expected


@pytest.mark.parametrize("make", KINDS)
def test_a_caller_that_does_not_read_leaves_the_thread_with_the_rest_decoded(make):
    stored = Stored(4 * MIB)
    with connected(make, room=32 * KIB) as (sender, end):
        caller = Caller(end, 0)

        rest = sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        assert 3 * MIB < len(rest) < 4 * MIB
        assert bytes(rest) == CONTENT[-len(rest) :]
        stored.require_decoded_once()
        assert caller.received(sender) + bytes(rest) == HEAD + CONTENT


@pytest.mark.parametrize("make", KINDS)
def test_a_head_that_does_not_go_out_whole_is_left_over_with_all_of_the_body(make):
    head, stored = pattern(8 * MIB, seed=3), Stored(2 * MIB + 5)
    with connected(make, room=32 * KIB) as (sender, end):
        caller = Caller(end, 0)

        rest = sender.send(head, memoryview(stored.buffer), stored.decode)

        assert len(rest) > len(stored.buffer)
        stored.require_decoded_once()
        assert caller.received(sender) + bytes(rest) == head + CONTENT[: len(stored.buffer)]


def test_where_there_is_no_room_at_all_everything_is_left_over():
    """In TCP there may be room again a moment later, when a timer has moved what waits."""
    stored = Stored(PIECE + 1)
    with connected(socket.socketpair, room=1) as (sender, _):
        while sender._write([bytes(64 * KIB)]):
            pass
        while sender._write([b"\0"]):
            pass

        rest = sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        assert bytes(rest) == HEAD + CONTENT[: PIECE + 1]
        stored.require_decoded_once()


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("length", [1, 4 * MIB])
def test_sending_to_a_caller_that_is_gone_breaks(patient, make, length):
    def send_on_and_on() -> None:
        while True:  # The first bytes may go out before the kernel hears of it.
            stored = Stored(length)
            sender.send(HEAD, memoryview(stored.buffer), stored.decode)

    with connected(make) as (sender, end):
        end.close()

        with pytest.raises(Broken):
            send_on_and_on()


class Failing(Stored):
    """Stored bytes of which those behind the first *sound* cannot be decoded."""

    def __init__(self, length: int, sound: int, failure: Exception) -> None:
        super().__init__(length)
        self._sound = sound
        self._failure = failure

    def decode(self, start: int, end: int) -> None:
        if end > self._sound:
            raise self._failure
        super().decode(start, end)


def test_what_cannot_be_decoded_at_all_leaves_the_connection_unused(patient):
    stored = Failing(4 * MIB, 0, StorageFailed(operation="decrypt"))
    with connected(tcp_pair) as (sender, end):
        with pytest.raises(StorageFailed):
            sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        end.setblocking(False)
        with pytest.raises(BlockingIOError):
            end.recv(1)


@pytest.mark.parametrize("failure", [StorageFailed(operation="decrypt"), MemoryError()])
def test_what_cannot_be_decoded_behind_the_first_piece_breaks(patient, failure):
    stored = Failing(4 * MIB, PIECE, failure)
    with connected(tcp_pair) as (sender, end):
        caller = Caller(end, 10**9)

        with pytest.raises(Broken):
            sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        assert caller.received(sender) == HEAD + CONTENT[:PIECE]


@pytest.mark.parametrize("make", KINDS)
def test_a_caller_that_goes_in_the_middle_ends_the_sending(patient, make):
    stored = Stored(4 * MIB)
    with connected(make, room=32 * KIB) as (sender, end):

        def read_a_little_and_hang_up() -> None:
            assert end.recv(1000)
            end.close()

        thread = threading.Thread(target=read_a_little_and_hang_up)
        thread.start()

        with pytest.raises(Broken):
            sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        thread.join(LONG_S)


def test_a_caller_that_only_stops_sending_still_gets_everything(patient):
    stored = Stored(4 * MIB)
    with connected(tcp_pair) as (sender, end):
        end.shutdown(socket.SHUT_WR)
        caller = Caller(end, 10**9)

        assert not sender.send(HEAD, memoryview(stored.buffer), stored.decode)

        assert caller.received(sender) == HEAD + CONTENT


def test_closing_gives_back_its_own_descriptor_and_leaves_the_connection():
    ours, callers = socket.socketpair()
    with ours, callers:
        sender = DirectSender(fd := os.dup(ours.fileno()))

        sender.close()

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        ours.sendall(b"on")
        assert callers.recv(2) == b"on"

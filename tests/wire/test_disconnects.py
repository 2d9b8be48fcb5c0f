"""Callers that leave at any moment, and answers to those that are still sending."""

import os
import socket
import struct
import threading
from functools import partial

import pytest

from drivebay.units import KIB, MIB
from live import Server, drained
from wire.conftest import CONTENT
from wire.exchange import Caller, Wire, eventually, refused, request
from wire.processes import memory_before, peaks_grown, workers

ABORTED_READS = 1000


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """A caller of a service with one worker, whose files can be counted."""
    running = Server(tmp_path_factory.mktemp("lone"), workers=1)
    try:
        yield Caller(running.start(), running.first)
    finally:
        running.close()


def reset(wire: Wire) -> None:
    """Hang up with a reset instead of an end."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def test_a_thousand_aborted_reads_leave_no_file_and_no_memory_behind_87(lone):
    drive = lone.create("size 1M")
    lone.write(drive, os.urandom(MIB))
    (worker,) = workers(lone.server)
    ask = request("GET", f"/drives/{drive}/read/0/1M", user=lone.user)

    def abort_after_the_head(count: int) -> None:
        for number in range(count):
            with Wire(lone.server) as wire:
                assert wire.send(ask).socket.recv(15) == b"HTTP/1.1 200 OK"
                if number % 2:
                    reset(wire)

    abort_after_the_head(100)
    eventually(lambda: worker.sockets <= 8)
    files, before = worker.descriptors, memory_before(lone.server)

    abort_after_the_head(ABORTED_READS)

    eventually(lambda: abs(worker.descriptors - files) <= 5)
    assert peaks_grown(lone.server, before) < 20 * MIB
    assert len(lone.read(drive, 0, MIB)) == MIB
    assert int(lone.info(drive)["read:requests"]) <= 100 + ABORTED_READS + 1


def test_reads_that_nobody_waits_for_hold_no_thread(lone):
    """More of them than there are threads and turns."""
    drive = lone.create("size 4M")
    ask = request("GET", f"/drives/{drive}/read/0/4M", user=lone.user)
    for _ in range(100):
        with Wire(lone.server) as wire:
            wire.send(ask)

    assert len(lone.read(drive, 0, 4 * MIB)) == 4 * MIB


@pytest.mark.parametrize(
    "leave", [Wire.close, reset, Wire.half_close], ids=["end", "reset", "half"]
)
def test_a_write_cut_at_each_step_changes_nothing(server, caller, kept, leave):
    data = request("POST", f"/drives/{kept}/write", b"x" * 65536, user=caller.user)
    head = data.index(b"\r\n\r\n") + 4
    cuts = [1, 30, head - 2, head, head + 1, head + 4096, *range(head + 8192, len(data), 8192)]
    for cut in [*cuts, len(data) - 1]:
        with Wire(server) as wire:
            wire.send(data[:cut])
            leave(wire)
            if leave is Wire.half_close:
                assert drained(wire.socket) == b""


def test_a_write_that_is_here_whole_is_done_though_its_caller_has_left(server, caller):
    drive = caller.create()
    for turn in range(1, 20):
        content = bytes([turn]) * 65536
        with Wire(server) as wire:
            wire.send(request("POST", f"/drives/{drive}/write", content, user=caller.user))

        eventually(partial(lambda last: caller.read(drive, 65535, 1) == last, content[-1:]))


def test_a_long_write_that_ends_early_leaves_whole_pieces(server, caller):
    drive = caller.create("size 16M")
    data = request("POST", f"/drives/{drive}/write", b"x" * (12 * MIB), user=caller.user)
    with Wire(server) as wire:
        wire.send(data[: 9 * MIB])

    eventually(lambda: caller.read(drive, 8 * MIB - 1, 1) == b"x")
    assert caller.read(drive, 8 * MIB, MIB + 1) == bytes(MIB + 1)
    assert caller.info(drive)["write:requests"] == "0"


def test_nothing_unexpected_is_logged_when_callers_leave(lone):
    drive = lone.create("size 4M")
    read = request("GET", f"/drives/{drive}/read/0/4M", user=lone.user)
    write = request("POST", f"/drives/{drive}/write", b"x" * 4096, user=lone.user)
    for data in (read * 3, write * 3, read + write, write + read, read * 60, write[:-1], read[:-1]):
        for leave in (Wire.close, reset):
            for wait in (False, True):
                with Wire(lone.server) as wire:
                    wire.send(data)
                    if wait and data.startswith(read):
                        wire.socket.recv(1)
                    leave(wire)
    eventually(lambda: workers(lone.server)[0].sockets <= 8)

    assert lone.read(drive, 4096, 1) == b"\0"
    log = lone.server.log.read_text()
    assert "Traceback" not in log
    assert "unexpected" not in log


EARLY = {
    "401": ("/drives/{}/write", 401, "auth"),
    "404": ("/drives/00000000-0000-4000-8000-000000000000/write", 404, "missing"),
    "400": ("/drives/{}/write/x", 400, "usage"),
    "400 create": ("/drives/create", 400, "usage"),
    "400 gzip": ("/drives/{}/write", 400, "usage"),
    "507": ("/drives/{}/write", 507, "full"),
    "405": ("/drives/list", 405, "method"),
}


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("length", [5 * MIB, 32 * MIB])
def test_an_early_answer_to_a_large_body_is_seen_by_a_caller_that_only_sends(
    server, caller, kept, name, length
):
    """The answer comes before the body is over; hanging up at once would reset it away."""
    path, status, word = EARLY[name]
    data = request(
        "PUT" if status == 405 else "POST",
        path.format(kept),
        user=None if status == 401 else caller.user,
        headers=[
            f"Content-Length: {length}",
            *(["Content-Encoding: gzip"] if "gzip" in name else []),
        ],
    )
    with Wire(server) as wire:
        wire.send(data)
        for _ in range(0, length, 64 * KIB):
            wire.send(b"x" * (64 * KIB))

        answer = wire.answer()

        refused(answer, status, word)
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_an_early_answer_is_not_waited_for_until_the_body_is_over(server, kept):
    with Wire(server) as wire:
        wire.send(
            request("POST", f"/drives/{kept}/write", headers=["Content-Length: 99999999"]), b"x"
        )

        refused(wire.answer(), 401, "auth")


def test_a_body_without_end_behind_an_early_answer_is_cut_off(server, kept):
    stopped = threading.Event()

    def send() -> None:
        try:
            while True:
                wire.send(b"x" * MIB)
        except OSError:
            stopped.set()

    with Wire(server) as wire:
        wire.send(request("POST", f"/drives/{kept}/write", headers=[f"Content-Length: {10**15}"]))
        sender = threading.Thread(target=send)
        sender.start()

        refused(wire.answer(), 401, "auth")

        assert stopped.wait(60)
        sender.join()


def test_a_small_body_that_nobody_wants_is_taken_and_the_connection_goes_on(server, caller, kept):
    with Wire(server) as wire:
        for length in (1, 4096, 64 * KIB):
            refused(wire.ask("POST", f"/drives/{kept}/write", b"x" * length), 401, "auth")
            refused(wire.ask("POST", "/nowhere", b"x" * length, user=caller.user), 404, "missing")

        assert wire.ask("GET", f"/drives/{kept}/read/0/9", user=caller.user).body == CONTENT[:9]

"""Processes that die at the worst moment: claims stay, and so does what was promised."""

import os
import random
import signal
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import pytest

from drivebay.units import MIB
from live import Server
from nbd.claimed import Claimed, claimed
from nbd.client import FLUSHING, FUA, Closed, read, trim, write, zeroes
from nbd.writing import Writer
from system.waiting import wait_until


def reconnected(drive: Claimed):
    """Return a client with the same ticket, once there is a process to take it."""

    def attempt():
        try:
            return drive.open()
        except (Closed, ConnectionError):
            return None

    return wait_until(attempt)


def test_a_claim_outlives_the_process_that_served_it(make_server):
    server = make_server(options=["--nbd-workers", "1"])
    drive = claimed(server)
    content = os.urandom(MIB)
    for _ in range(2):
        with drive.open() as client:
            assert {reply.error for reply in client.do(write(0, content), FLUSHING)} == {0}
            os.kill(server.pid_of("nbd-0"), signal.SIGKILL)
            assert client.is_closed()

        again = reconnected(drive)

        assert again.do(read(0, MIB))[0].data == content
        assert drive.info()["claimed"] == drive.holder
        again.close()
    drive.release()
    assert drive.content() == content


@pytest.mark.parametrize("through", [True, False])
def test_what_was_flushed_or_written_through_outlives_the_whole_service(make_server, through):
    server = make_server()
    drive, dice = claimed(server, "size 4M"), random.Random(3)
    content = bytearray(4 * MIB)
    client = drive.open()
    for _ in range(30):
        at, data = dice.randrange(3 * MIB), dice.randbytes(dice.randrange(1, 100_000))
        content[at : at + len(data)] = data
        assert client.do(write(at, data, FUA if through else 0))[0].error == 0
        assert through or client.do(FLUSHING)[0].error == 0
    client.submit(*(write(3 * MIB + at, b"in flight") for at in range(0, MIB, 4096)))
    server.kill()
    assert client.is_closed()

    server.start()

    assert drive.info()["claimed"] == drive.holder
    with drive.open() as again:
        found = bytes(again.do(read(0, 4 * MIB))[0].data)
        assert found[: 3 * MIB] == content[: 3 * MIB]
        # What was in flight is there or not, each as a whole.
        for at in range(3 * MIB, 4 * MIB, 4096):
            assert found[at : at + 9] in {b"in flight", bytes(9)}
        assert again.do(write(0, b"goes on"))[0].error == 0
    drive.release()
    drive.put(b"http")
    assert drive.get(0, 7) == b"http on"


def test_a_client_that_dies_in_a_write_leaves_whole_pieces_of_it(held):
    drive = claimed(held.server, "size 16M")
    old, new = os.urandom(12 * MIB), os.urandom(12 * MIB)
    with drive.open() as client:
        client.do(write(0, old))
        sent, _ = client.queue(write(0, new))
        client.send(sent[: 9 * MIB])

    def is_settled() -> bool:
        content = drive.content()
        pieces = [content[at : at + 4 * MIB] for at in range(0, 12 * MIB, 4 * MIB)]
        expected = zip(pieces, range(0, 12 * MIB, 4 * MIB), (True, True, False), strict=True)
        return all(
            piece == (new if is_new else old)[at : at + 4 * MIB] for piece, at, is_new in expected
        )

    wait_until(is_settled)
    with drive.open() as client:
        assert client.do(write(0, b"x"))[0].error == 0


def test_a_service_that_is_told_to_end_answers_what_has_arrived_and_ends(make_server):
    server = make_server()
    drive = claimed(server)
    writers = [Writer(drive) for _ in range(3)]
    quiet = drive.open()

    assert server.stop() == 0

    assert all(writer.is_cut_off() for writer in writers)
    assert {error for writer in writers for error in writer.errors} == set()
    assert quiet.is_closed()
    assert not (server.data / "nbd.sock").exists()
    server.start()
    assert drive.open().do(read(0, 1))[0].error == 0


def test_what_two_processes_did_is_counted_even_if_one_is_killed(make_server):
    """Each process adds to a file of its own, and each answered request is in it."""
    server = make_server(options=["--nbd-workers", "2"])
    drive = claimed(server, "size 8M\nclaim:type shared")
    second = replace(drive, holder=str(uuid4())).claim()
    with server.stopped("nbd-1"):
        one = drive.open()
    with server.stopped("nbd-0"):
        other = second.open()
    before = server.pid_of("nbd-0")
    expected = dict.fromkeys(("read:bytes", "read:requests", "write:bytes", "write:requests"), 0)
    for client in (one, other):
        for length in (1, 4096, 100_000, 5 * MIB):
            for _ in range(7):
                replies = client.do(write(3, bytes(length)), read(1, length), FLUSHING)
                assert {reply.error for reply in replies} == {0}
                for what in ("read", "write"):
                    expected[f"{what}:bytes"] += length
                    expected[f"{what}:requests"] += 1
        client.do(read(8 * MIB, 1), write(8 * MIB, b"refused"))
    os.kill(before, signal.SIGKILL)
    assert one.is_closed()

    record = drive.info()

    assert {key: int(record[key]) for key in expected} == expected
    assert other.do(read(0, 5))[0].error == 0
    server.stop()
    server.start()
    assert int(drive.info()["read:bytes"]) == expected["read:bytes"] + 5


def test_a_read_of_many_pieces_counts_as_one_and_zeroing_as_a_write(server: Server):
    drive = claimed(server, "size 40M")
    with drive.open(structured=False) as client:
        requests = [read(0, 32 * MIB), write(1, bytes(32 * MIB)), zeroes(0, 5000), trim(0, 4096)]
        assert [reply.error for reply in client.do(*requests)] == [0] * 4
        client.do(*(read(at, 1) for at in range(100)), *(write(at, b"x") for at in range(100)))

    record = drive.info()

    assert [int(record[f"read:{what}"]) for what in ("bytes", "requests")] == [32 * MIB + 100, 101]
    written = [int(record[f"write:{what}"]) for what in ("bytes", "requests")]
    assert written == [32 * MIB + 5100, 102]


@pytest.mark.parametrize("name", ["nbd-0", "http-0", "jobs"])
def test_a_process_that_has_just_begun_anew_ends_when_it_is_told_to(make_server, name):
    server = make_server(workers=1, options=["--nbd-workers", "1"])
    for _ in range(2):
        before = server.pid_of(name)
        os.kill(before, signal.SIGKILL)

        # As early as it has its name, long before it can act on anything.
        pid = other_than(before, server, name)
        os.kill(pid, signal.SIGTERM)

        wait_until(lambda pid=pid: f"process {name} (pid {pid}) died" in server.log.read_text())
        other_than(pid, server, name)
    assert server.stop() == 0
    assert "did not end in time" not in server.log.read_text()


def other_than(before: int, server: Server, name: str) -> int:
    """Wait for the process that takes the place of *before*."""
    while True:
        with suppress(ValueError, OSError):
            if (pid := server.pid_of(name)) != before:
                return pid

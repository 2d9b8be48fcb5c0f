"""Clients that are broken or mean: their connections end, the others go on, and memory is bounded."""

import os
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from drivebay.nbd.server import CONNECTIONS_MAX
from drivebay.service.sessions import CONNECTIONS_MAX as PER_CLAIM
from drivebay.units import MIB
from live import Server
from nbd.claimed import Claimed, claimed
from nbd.client import (
    ACK,
    FLUSHING,
    GO,
    INFO,
    LIST,
    Client,
    Closed,
    Connection,
    Request,
    named,
    option,
    read,
    trim,
    write,
)
from system.waiting import wait_until

HANDSHAKE_S, STALL_S = 2.0, 1.0


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory):
    """A service with one NBD process, which soon gives up waiting."""
    options = ["--nbd-workers", "1", "--stall-timeout-s", f"{STALL_S}"]
    options += ["--header-timeout-s", f"{HANDSHAKE_S}"]
    running = Server(tmp_path_factory.mktemp("impatient"), workers=1, options=options)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def drive(impatient: Server) -> Claimed:
    return claimed(impatient, "size 40M")


@pytest.fixture
def others(impatient: Server):
    """Another server's connection, which must go on, and the check that it does."""
    good = claimed(impatient).open()
    assert good.do(write(0, b"before"), FLUSHING)[1].error == 0
    yield good
    written, flushed, found = good.do(write(6, b"after"), FLUSHING, read(0, 6))
    assert (written.error, flushed.error, found.data) == (0, 0, b"before")


def resident_mib(server: Server) -> float:
    lines = Path(f"/proc/{server.pid_of('nbd-0')}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def threads(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid_of('nbd-0')}/task"))  # noqa: PTH208 - they come and go


def flood(connection: Connection, data: bytes) -> None:
    """Send until the other side takes no more."""
    with suppress(Closed, TimeoutError):
        connection.send(data)


BEGINNINGS = {
    "nothing": b"",
    "half of the flags": b"\0\0",
    "garbage": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown flags": struct.pack(">I", 0x80000003),
    "half of an option": struct.pack(">I", 3) + option(GO, named("x"))[:20],
    "4 GiB of an option": struct.pack(">I", 3) + option(INFO, b"", length=2**32 - 1) + bytes(10**5),
    "a name of 4 GiB": struct.pack(">I", 3) + option(1, b"", length=2**32 - 1),
    "ten thousand options": struct.pack(">I", 3) + option(LIST) * 10_000,
    "no option": struct.pack(">I", 3) + b"y" * 100,
    "an unknown name": struct.pack(">I", 3) + option(1, b"x" * 43),
    "requests before the end of the handshake": struct.pack(">I", 3) + read(0, 1).packed(1) * 10,
}


@pytest.mark.parametrize("sent", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_handshake_that_leads_nowhere_ends(drive, others, sent):
    connection = drive.connect()
    flood(connection, sent)

    assert connection.is_closed()


def test_a_hundred_half_open_handshakes_keep_nobody_out(impatient, drive, others):
    half = [drive.connect() for _ in range(100)]
    for connection in half[::2]:
        connection.greet()

    with drive.open() as good:
        assert good.do(read(0, 1))[0].error == 0
    for connection in half:
        assert connection.is_closed()
    wait_until(lambda: threads(impatient) < 50)


def test_connections_that_have_shown_their_ticket_do_not_give_way_to_strangers(drive, others):
    stuck = drive.connect().greet()
    assert stuck.ask(INFO, named(stuck.ticket))[-1][0] == ACK
    strangers = [drive.connect() for _ in range(100)]

    assert stuck.ask(GO, named(stuck.ticket))[-1][0] == ACK
    assert strangers[-1].greet().ask(LIST) == [(ACK, b"")]


@pytest.mark.parametrize("name", ["", "x", "drive", "ticket"])
def test_no_name_but_a_ticket_opens_a_drive_and_none_is_told(drive, name):
    text = {"drive": drive.drive, "ticket": drive.uri.partition("///")[2][:42]}.get(name, name)
    connection = drive.connect().greet()

    assert connection.ask(LIST) == [(ACK, b"")]
    for number in (INFO, GO):
        ((kind, message),) = connection.ask(number, named(text))
        assert kind == 2**31 + 6
        assert drive.drive.encode() not in message
    assert connection.ask(LIST) == [(ACK, b"")]


MIDDLES = {
    "half of a header": read(0, 1).packed(1)[:27],
    "a small write without its end": write(0, b"x" * 1000).packed(1)[:500],
    "a long write without its end": write(0, b"x" * 10 * MIB).packed(1)[: 5 * MIB],
    "a refused write without its end": write(0, bytes(40 * MIB)).packed(1)[: 5 * MIB],
    "a write that was announced": Request(1, 0, 32 * MIB).packed(1),
    "a write of 4 GiB": Request(1, 0, 2**32 - 1).packed(1),
    "no magic": read(0, 1).packed(1) + b"y" * 28,
    "a reply": b"\x67\x44\x66\x98" + bytes(24),
}


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("sent", MIDDLES.values(), ids=MIDDLES)
def test_a_request_that_makes_no_sense_or_does_not_end_is_the_end(drive, others, sent, structured):
    with drive.open(structured=structured) as client:
        assert client.do(write(0, b"before"))[0].error == 0
        flood(client, sent)

        assert client.is_closed()

    assert drive.get(0, 1) in {b"b", b"x"}
    with drive.open() as client:
        assert client.do(read(0, 1))[0].error == 0


def test_what_is_announced_and_never_sent_costs_bounded_memory(impatient, drive, others):
    before = resident_mib(impatient)
    clients = [drive.open() for _ in range(60)]
    for client in clients:
        client.send(Request(1, 0, 32 * MIB).packed(1), bytes(MIB))

    assert resident_mib(impatient) - before < 60 * 8
    for client in clients:
        assert client.is_closed()


def test_a_client_that_never_reads_its_replies_is_given_up(impatient, drive, others):
    before, lost = resident_mib(impatient), impatient.log.read_text().count("connection lost")
    clients = [drive.open() for _ in range(5)]
    clients[0].do(write(0, os.urandom(32 * MIB)))
    for client in clients:
        sent, _ = client.queue(*(read(0, 32 * MIB) for _ in range(1000)))
        client.send(sent)
    wait_until(lambda: impatient.log.read_text().count("connection lost") == lost + 5)

    assert resident_mib(impatient) - before < 300
    for client in clients:
        assert client.is_closed()


def test_all_the_connections_that_one_claim_may_have_work(impatient, drive, others):
    before = resident_mib(impatient)
    clients = [drive.open(structured=False) for _ in range(PER_CLAIM)]
    for number, client in enumerate(clients):
        client.submit(write(number * 4096, number.to_bytes(2, "big") * 2048))
    assert {client.reply()[1].error for client in clients} == {0}
    for number, client in enumerate(clients):
        assert client.do(read(number * 4096, 2))[0].data == number.to_bytes(2, "big")

    assert resident_mib(impatient) - before < PER_CLAIM
    assert drive.release().status == 204
    assert all(client.is_closed() for client in clients)
    wait_until(lambda: threads(impatient) < 50)


def opened_until_refused(drive: Claimed, limit: int) -> list[Client]:
    """Open connections until one is refused, at most *limit*."""
    clients: list[Client] = []
    with suppress(Closed, ConnectionError, AssertionError):
        while len(clients) < limit:
            clients.append(drive.open())
    return clients


def test_more_connections_than_a_claim_may_have_are_refused(impatient, drive, others):
    clients = opened_until_refused(drive, 2 * PER_CLAIM)

    assert len(clients) == PER_CLAIM
    assert clients[0].do(read(0, 1))[0].error == clients[-1].do(read(0, 1))[0].error == 0
    assert claimed(impatient).open().do(read(0, 1))[0].error == 0
    clients.pop().close()
    wait_until(lambda: len(opened_until_refused(drive, 1)) == 1)


def test_more_connections_than_the_limit_are_refused_and_the_rest_go_on(impatient, others):
    drives = [claimed(impatient, "size 1M") for _ in range(CONNECTIONS_MAX // PER_CLAIM + 1)]
    clients = [one for drive in drives for one in opened_until_refused(drive, PER_CLAIM)]

    assert CONNECTIONS_MAX - 24 <= len(clients) <= CONNECTIONS_MAX
    assert clients[0].do(read(0, 1))[0].error == clients[-1].do(read(0, 1))[0].error == 0
    for client in clients:
        client.close()
    wait_until(lambda: threads(impatient) < 100)
    assert drives[0].open().do(read(0, 1))[0].error == 0


def test_clients_that_vanish_at_any_byte_leave_nothing_behind(impatient, drive, others):
    whole = write(0, b"x" * 100).packed(1) + FLUSHING.packed(2) + trim(0, 4096).packed(3)
    for cut in range(len(whole)):
        client = drive.open()
        client.send(whole[:cut])
        if cut % 2:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    wait_until(lambda: threads(impatient) < 50)
    descriptors = Path(f"/proc/{impatient.pid_of('nbd-0')}/fd")
    wait_until(lambda: len(list(descriptors.iterdir())) < 60)


def test_connecting_and_leaving_all_the_time_keeps_nobody_out(drive, others):
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            with suppress(OSError):
                drive.connect().close()

    pests = [threading.Thread(target=come_and_go) for _ in range(4)]
    for pest in pests:
        pest.start()
    try:
        for _ in range(20):
            with drive.open() as client:
                assert client.do(read(0, 1))[0].error == 0
    finally:
        ended.set()
        for pest in pests:
            pest.join()


def test_clients_that_do_not_read_hold_no_flush_of_another_up(make_server):
    server = make_server(workers=1, options=["--nbd-workers", "1"])
    drive, other = claimed(server, "size 40M"), claimed(server)
    good = other.open()
    drive.open().do(write(0, os.urandom(32 * MIB)))
    for _ in range(12):
        lazy = drive.open()
        flushes = [request for _ in range(8) for request in (trim(0, 32 * MIB), FLUSHING)]
        sent, _ = lazy.queue(*flushes, *(read(0, 32 * MIB) for _ in range(100)))
        lazy.send(sent)

    for _ in range(50):
        assert good.do(write(0, b"good"), FLUSHING)[1].error == 0

    assert "connection lost" not in server.log.read_text()

"""Callers that are slow or stop: cut off in time, holding no memory, no turn and no thread.

Item 83 of the list of bad inputs.  The service here has short time-outs, and each is waited for.
"""

import itertools
import os
import socket
import threading
import zlib
from contextlib import suppress

import pytest

from drivebay.units import KIB, MIB
from live import Server, drained
from wire.exchange import Caller, Wire, eventually, refused, request
from wire.processes import memory_before, peaks_grown, workers

CONTENT = bytes(range(256)) * 256
NOISE = os.urandom(4 * MIB)

TIMEOUT_S = 1.0
"""Short, for each is waited for, and longer than a busy machine keeps a caller from its turn."""

ALWAYS_OPEN = 8
"""More sockets than a worker has without a connection: its listener and the event loop's own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A service that waits for nobody, with room for two transfers of a user."""
    running = Server(
        tmp_path_factory.mktemp("hasty"),
        workers=1,
        options=[
            *("--header-timeout-s", str(TIMEOUT_S), "--stall-timeout-s", str(TIMEOUT_S)),
            *("--keep-alive-s", "2", "--transfers-per-user", "2"),
        ],
    )
    try:
        yield running.start()
    finally:
        running.close()


def drips(wire: Wire, drop: bytes) -> None:
    """Send *drop* again and again until the service hangs up."""
    wire.socket.settimeout(0.05)
    with suppress(ConnectionError):
        for _ in range(600):
            wire.send(drop)
            with suppress(TimeoutError):
                if not wire.socket.recv(65536):
                    return
        pytest.fail("the service took it for half a minute")


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"G", id="one letter"),
        pytest.param(b"GET /drives/list HTTP/1.1\r\nHost: x\r\nX-Note: ", id="half a header"),
        pytest.param(b"GET /drives/list HTTP/1.1\r\nHost: x\r\n", id="no end of the headers"),
        pytest.param(b"\r\n\r\n", id="blank lines"),
        pytest.param(b"GET /drives/list\r\n", id="HTTP 0.9"),
        pytest.param(request("GET", "/"), id="a whole request"),
        pytest.param(request("GET", "/") + b"GET /", id="a request and half a one"),
        pytest.param(request("GET", "/") * 3 + b"\r\n", id="requests and a blank line"),
    ],
)
def test_a_connection_on_which_nothing_comes_any_more_is_closed(server, beginning):
    with Wire(server) as wire:
        drained(wire.send(beginning).socket)


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [
        (b"", b"\r\n"),
        (b"GET /", b"x"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Note: ", b"x"),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (request("GET", "/") + b"GET /", b"x"),
        (request("GET", "/"), b"\r\n"),
        (request("GET", "/openapi.json", headers=["Content-Length: 1000"]), b"x"),
        (request("POST", "/drives/list", headers=["Content-Length: 1000"]), b"x"),
    ],
    ids=itertools.count(),
)
def test_a_connection_on_which_bytes_only_drip_is_closed(server, beginning, drop):
    with Wire(server) as wire:
        drips(wire.send(beginning), drop)


def test_a_thousand_slow_connections_are_cut_and_others_served_meanwhile(server, caller, drive):
    (worker,) = workers(server)
    slow = [socket.create_connection((server.host, server.port)) for _ in range(1000)]
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Note: ")

    assert caller.read(drive, 0, 16) == CONTENT[:16]

    for connection in slow:
        connection.settimeout(30)
        assert drained(connection) == b""
        connection.close()
    eventually(lambda: worker.sockets <= ALWAYS_OPEN)


@pytest.mark.parametrize("sent", [0, 1, 65535])
@pytest.mark.parametrize(
    ("path", "coding"),
    [("write", "identity"), ("write", "gzip"), ("set", "identity"), ("destroy", "identity")],
)
def test_a_body_that_stalls_is_408_and_changes_nothing(server, caller, kept, path, coding, sent):
    body = zlib.compress(os.urandom(70000), wbits=31) if coding == "gzip" else b"size 1\n" + CONTENT
    headers = ["Content-Length: 65536", f"Content-Encoding: {coding}"]
    with Wire(server) as wire:
        wire.send(
            request("POST", f"/drives/{kept}/{path}", user=caller.user, headers=headers),
            body[:sent],
        )

        answer = wire.answer()

        refused(answer, 408, "usage")
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_a_body_that_drips_is_408_and_changes_nothing(server, caller, kept):
    head = request(
        "POST", f"/drives/{kept}/write", user=caller.user, headers=["Content-Length: 1000"]
    )
    with Wire(server) as wire:
        drips(wire.send(head), b"x")


def test_a_long_body_that_stalls_is_told_how_much_is_in_place(server, caller):
    drive = caller.create("size 16M")
    head = request(
        "POST",
        f"/drives/{drive}/write/1M",
        user=caller.user,
        headers=[f"Content-Length: {12 * MIB}"],
    )
    with Wire(server) as wire:
        wire.send(head, b"x" * (9 * MIB))

        sentence = refused(wire.answer(), 408, "usage")

    assert f"{8 * MIB} bytes from offset {MIB} are in place" in sentence
    assert caller.read(drive, 9 * MIB - 2, 4) == b"xx\0\0"
    assert caller.info(drive)["write:requests"] == "0"


def test_writers_that_stall_hold_little_memory_and_keep_nobody_from_being_served(server, caller):
    drive = caller.create("size 4M")
    other = Caller(server, server.add_user())
    head = request(
        "POST", f"/drives/{drive}/write", user=caller.user, headers=[f"Content-Length: {4 * MIB}"]
    )
    before = memory_before(server)
    stuck = []
    for _ in range(100):
        stuck.append(socket.create_connection((server.host, server.port)))
        stuck[-1].sendall(head + b"x" * 100_000)

    assert other.ask("GET", "/drives/list").status == 200

    for connection in stuck:
        connection.settimeout(30)
        assert drained(connection).startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 409 "))
        connection.close()
    # Two that have a turn, and what came in with the headers of the others.
    assert peaks_grown(server, before) < 64 * MIB
    assert caller.read(drive, 0, 1) == b"\0"


def unread(server: Server, data: bytes, *, window: int = 4096) -> socket.socket:
    """Send *data* on a connection whose answers are never read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.connect((server.host, server.port))
    connection.settimeout(30)
    with suppress(ConnectionError):
        connection.sendall(data)
    return connection


def until_all_are_cut(server: Server, connections: list[socket.socket]) -> None:
    """Wait until the service has given up every one of *connections*, and close them."""
    (worker,) = workers(server)
    eventually(lambda: is_refused(connections[-1]))
    eventually(lambda: worker.sockets <= ALWAYS_OPEN)
    for connection in connections:
        connection.close()


def is_refused(connection: socket.socket) -> bool:
    """Whether the service takes nothing more on the connection."""
    try:
        connection.send(b"\r\n")
    except OSError:
        return True
    return False


@pytest.fixture
def big(caller) -> str:
    """A drive of 4 MiB of noise."""
    drive = caller.create("size 4M")
    eventually(lambda: caller.ask("POST", f"/drives/{drive}/write", NOISE).status == 204)
    return drive


def test_readers_that_never_read_are_cut_and_give_up_their_memory(server, caller, big):
    before = memory_before(server)
    many = request("GET", f"/drives/{big}/read/0/4M", user=caller.user) * 20

    until_all_are_cut(server, [unread(server, many) for _ in range(8)])

    # Two turns of 4 MiB in flight, and what the threads keep.
    assert peaks_grown(server, before) < 64 * MIB


def test_readers_that_never_read_give_up_their_turns(server, caller, big):
    one = request("GET", f"/drives/{big}/read/0/4M", user=caller.user)
    stuck = [unread(server, one) for _ in range(2)]

    def is_answered() -> bool:
        answer = caller.ask("GET", f"/drives/{big}/read/0/1")
        assert answer.status == 200 or refused(answer, 409, "busy")
        return answer.status == 200

    eventually(is_answered)
    until_all_are_cut(server, stuck)


@pytest.mark.parametrize("last", [[], ["Connection: close"]], ids=["kept open", "closed"])
def test_small_answers_that_are_never_read_hold_nothing(server, caller, drive, last):
    path = f"/drives/{drive}/read/0/64k"
    many = request("GET", path, user=caller.user) * 60
    many += request("GET", path, user=caller.user, headers=last)

    until_all_are_cut(server, [unread(server, many) for _ in range(5)])


def test_a_list_that_is_never_read_holds_nothing(server, caller):
    """Such an answer is sent in one piece, without a turn, whatever its length."""
    other = Caller(server, server.add_user())
    for _ in range(20):
        drive = other.create("size 1")
        pairs = "\n".join(f"user:{number} {'x' * 4000}" for number in range(100))
        assert other.ask("POST", f"/drives/{drive}/set", pairs).status == 200
    one = request("GET", "/drives/info", user=other.user)

    until_all_are_cut(server, [unread(server, one) for _ in range(5)])


def test_a_reader_that_is_slow_but_reads_gets_everything(server, caller, big):
    one = request(
        "GET", f"/drives/{big}/read/0/4M", user=caller.user, headers=["Connection: close"]
    )
    pause = threading.Event()
    received = b""

    with unread(server, one, window=32 * KIB) as connection:
        while part := connection.recv(64 * KIB):
            received += part
            pause.wait(0.02)

    assert received.endswith(NOISE)

"""Who ends a claim in whatever way has ended its connections on return: nothing is written later."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from live import Credentials, Server
from nbd.claimed import Claimed, claimed
from nbd.client import ACK, GO, INFO, Client, Connection, named, read, write
from nbd.writing import Writer

ESHUTDOWN = 108


def release(drive: Claimed) -> Claimed:
    drive.release()
    return drive


def claim_again(drive: Claimed) -> Claimed:
    return replace(drive).claim()


def disable(drive: Claimed) -> Claimed:
    drive.server.run("user", "disable", drive.user[0])
    return drive


def rotate_key(drive: Claimed) -> Claimed:
    printed = drive.server.run("user", "rotate-key", drive.user[0], "--json")
    return replace(drive, user=(drive.user[0], json.loads(printed)["key"]))


ENDINGS = [release, claim_again, disable, rotate_key]


def idle(drive: Claimed) -> Connection:
    client = drive.open()
    assert client.do(read(0, 1))[0].error == 0
    return client


def stuck(drive: Claimed) -> Connection:
    """Return a connection that has shown its ticket and then says nothing more."""
    connection = drive.connect().greet()
    assert connection.ask(INFO, named(connection.ticket))[-1][0] == ACK
    return connection


def is_closed_now(connection: Connection) -> bool:
    connection.socket.settimeout(0)
    try:
        return connection.is_closed()
    except BlockingIOError:
        return False


def opens(drive: Claimed) -> bool:
    with drive.connect() as connection:
        return connection.greet().ask(GO, named(connection.ticket))[-1][0] == ACK


def content(drive: Claimed, reader: Credentials) -> bytes:
    return replace(drive, user=reader).get(0, 1 << 20)


@pytest.fixture
def reader(server: Server) -> Credentials:
    return server.add_user()


@pytest.fixture
def drive(server: Server, reader: Credentials) -> Claimed:
    """A claimed drive that another user may read over HTTP, whatever becomes of the first."""
    return claimed(server, f"size 1M\nreaders {reader[0]}")


@pytest.mark.parametrize("begin", [idle, stuck])
@pytest.mark.parametrize("end", ENDINGS)
def test_a_quiet_connection_is_closed_on_return(drive, end, begin):
    connections = [begin(drive) for _ in range(5)]

    end(drive)

    assert [is_closed_now(connection) for connection in connections] == [True] * 5
    assert not opens(drive)


@pytest.mark.parametrize("end", ENDINGS)
def test_nothing_is_written_after_the_return(drive, reader, end):
    writers = [Writer(drive) for _ in range(3)]

    after = end(drive)

    first = content(drive, reader)
    assert all(writer.is_cut_off() for writer in writers)
    assert set().union(*(writer.errors for writer in writers)) <= {ESHUTDOWN}
    assert content(drive, reader) == first
    assert not opens(drive)
    if end is disable:
        drive.server.run("user", "enable", drive.user[0])
    after.post("release")
    elsewhere = replace(after, holder=str(uuid4())).claim()
    with elsewhere.open() as client:
        found, written = client.do(read(0, 1 << 20), write(0, b"elsewhere"))
        assert (found.data, written.error) == (first, 0)
    assert content(drive, reader) == b"elsewhere" + first[9:]


def test_requests_that_were_sent_before_the_end_are_carried_out_or_not_but_not_later(drive, reader):
    """A thousand writes stand in the socket when the claim ends."""
    for _ in range(5):
        with drive.open() as client, ThreadPoolExecutor() as pool:
            sent = b"".join(
                client.queue(write(at * 1024, os.urandom(1024)))[0] for at in range(1024)
            )
            sending = pool.submit(client.socket.sendall, sent)
            answer = drive.post("release")

            first = content(drive, reader)
            assert answer.status == 204
            assert isinstance(sending.exception(), OSError | None)
            assert content(drive, reader) == first
        drive.claim()


def test_disabling_leaves_the_claim_and_its_ticket_for_later(drive):
    quiet = idle(drive)
    disable(drive)
    assert is_closed_now(quiet)
    assert not opens(drive)

    drive.server.run("user", "enable", drive.user[0])

    assert opens(drive)
    assert drive.info()["claimed"] == drive.holder


class TestReaders:
    @pytest.fixture
    def shared(self, server: Server, reader: Credentials) -> Claimed:
        """A drive that its owner and a reader have claimed; the reader's claim is given."""
        own = claimed(server, f"size 1M\nclaim:type shared\nreaders {reader[0]}")
        return replace(own, holder=str(uuid4())).claim(user=reader)

    @pytest.mark.parametrize("begin", [idle, stuck])
    @pytest.mark.parametrize(
        "call", ["set readers", "set readers other", "release by owner", "release", "disable"]
    )
    def test_the_connections_of_a_reader_end_with_what_lets_him_in(
        self, shared, reader, begin, call
    ):
        connection, server = begin(shared), shared.server

        if call == "disable":
            server.run("user", "disable", reader[0])
        elif "set" in call:
            text = f"readers {server.add_user()[0]}" if "other" in call else "readers"
            path = f"/drives/{shared.drive}/set"
            assert server.api("POST", path, text, user=shared.user).status == 200
        else:
            user = shared.user if "owner" in call else reader
            assert shared.post("release", user=user).status == 204

        assert is_closed_now(connection)
        assert not opens(shared)

    def test_the_end_of_one_claim_leaves_the_connections_of_the_others(self, shared, reader):
        own = replace(shared, holder=str(uuid4())).claim()
        with own.open() as client:
            assert shared.post("release", user=reader).status == 204

            assert client.do(write(0, b"x"), read(0, 1))[1].data == b"x"


class TestStoppedProcess:
    """A process that does nothing any more cannot be waited for; it is ended instead."""

    @staticmethod
    def in_process(server: Server, name: str, begin: Callable[[], Client | Writer]):
        """Connect while only the process *name* takes connections."""
        (other,) = {"nbd-0", "nbd-1"} - {name}
        with server.stopped(other):
            return begin()

    def test_a_process_that_was_stopped_writes_nothing_once_its_claim_has_ended(self, make_server):
        server = make_server(options=["--nbd-workers", "2"])
        drive, beside = claimed(server), claimed(server)
        writer = self.in_process(server, "nbd-0", lambda: Writer(drive))
        other = self.in_process(server, "nbd-1", beside.open)
        with server.stopped("nbd-0") as pid, ThreadPoolExecutor() as pool:
            ending = pool.submit(drive.release)
            while not ending.done():
                assert other.do(write(0, b"beside"), read(0, 6))[1].data == b"beside"
            ending.result()

            first = drive.get(0, 1 << 20)
            elsewhere = replace(drive, holder=str(uuid4())).claim()
            assert elsewhere.open().do(read(0, 1 << 20))[0].data == first

        assert writer.is_cut_off()
        assert drive.get(0, 1 << 20) == first
        assert other.do(read(0, 6))[0].data == b"beside"
        again = server.pid_of("nbd-0")
        assert again != pid
        back = self.in_process(server, "nbd-0", elsewhere.open)
        assert back.do(write(0, b"back"))[0].error == 0
        assert f"process nbd-0 (pid {pid})" in server.log.read_text()
        assert server.stop() == 0

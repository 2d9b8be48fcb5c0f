"""Stores that are full or fail under a server: it is told, and the connection goes on."""

import os
import select
import subprocess

import pytest

from drivebay.units import KIB, MIB
from live import Server
from nbd.claimed import claimed
from nbd.client import FLUSHING, FUA, read, trim, write, zeroes
from system.test_full import SmallServer, namespace
from system.traced import needs_strace

EIO, ENOSPC = 5, 28


@pytest.mark.skipif(not namespace(), reason="needs leave to mount a tmpfs")
@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_a_write_for_which_there_is_no_room_fails_and_what_was_there_stays(
    tmp_path, structured, cipher
):
    small = SmallServer(tmp_path / "server", workers=1)
    try:
        drive = claimed(small.start(), f"size 8M\nencryption:cipher {cipher}")
        other = claimed(small, "size 64M")
        client = drive.open(structured=structured)
        content = os.urandom(MIB)
        client.do(write(5, content))
        filler = other.open()
        while not filler.do(write(filler.size - MIB, os.urandom(MIB)))[0].error:
            filler.size -= MIB
        while not filler.do(write(filler.size - 4096, os.urandom(4096)))[0].error:
            filler.size -= 4096

        for flags in (0, FUA):
            failed, large = client.do(
                write(4 * MIB, os.urandom(4 * KIB), flags), write(4 * MIB, os.urandom(MIB), flags)
            )
            assert (failed.error, large.error) == (ENOSPC, ENOSPC)
        assert client.do(read(5, MIB))[0].data == content
        assert [reply.error for reply in other.open().do(trim(32 * MIB, 32 * MIB), FLUSHING)] == [
            0,
            0,
        ]
        again, flushed = client.do(write(4 * MIB, content), FLUSHING)

        assert (again.error, flushed.error) == (0, 0)
        assert drive.info()["status"] == "active"
        assert drive.get(4 * MIB, MIB) == content
    finally:
        small.close()


def failing_flush(server: Server) -> subprocess.Popen[str]:
    """Let the next flush of the NBD process fail; return the strace that sees to it."""
    tracer = subprocess.Popen(
        [
            *("strace", "-f", "-p", str(server.pid_of("nbd-0")), "-e", "trace=fdatasync"),
            *("-e", "inject=fdatasync:error=EIO:when=1", "-o", "/dev/null"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    ready, _, _ = select.select([tracer.stderr], [], [], 60)
    assert ready
    assert "attached" in tracer.stderr.readline()
    return tracer


@needs_strace
@pytest.mark.parametrize("how", ["flush", "write", "zeroes"])
def test_a_flush_that_fails_takes_the_drive_out_of_service(make_server, how):
    server = make_server(workers=1, options=["--nbd-workers", "1"])
    drive, other = claimed(server, "size 1M\nclaim:type shared"), claimed(server)
    with drive.open() as client, other.open() as beside:
        # The threads that will flush are there before strace looks for them.
        assert {reply.error for reply in client.do(write(0, b"before"), FLUSHING)} == {0}
        assert beside.do(write(0, b"x"), FLUSHING)[1].error == 0
        with failing_flush(server) as tracer:
            request = {
                "flush": FLUSHING,
                "write": write(0, b"BEFORE", FUA),
                "zeroes": zeroes(4096, 4096, FUA),
            }[how]
            (failed,) = client.do(request)
            refused, found = client.do(write(9, b"x"), read(1, 5))
            tracer.terminate()
            tracer.wait(60)

        assert failed.error == EIO
        assert refused.error == EIO
        assert found.data.lower() == b"efore"
        assert beside.do(write(0, b"y"), FLUSHING)[1].error == 0
    record = drive.info()
    assert (record["status"], bool(record["fault"])) == ("inactive", True)
    assert drive.post("claim").status == 500
    assert server.api("POST", f"/drives/{drive.drive}/write", b"x", user=drive.user).status == 500
    drive.server.run("fault", "clear", drive.drive)
    drive.claim()
    assert drive.open().do(write(0, b"again"), FLUSHING)[1].error == 0

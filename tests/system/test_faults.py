"""Flushes that fail: never a success, the drive out of service, and an operator to bring it back.

strace answers EIO in the kernel's place, for one file alone.
"""

import json
import os

import pytest

from drivebay.units import MIB
from system.drives import content_of, image, info_of, made, wait_for
from system.traced import TracedServer, needs_strace

pytestmark = needs_strace

CONTENT = os.urandom(2 * MIB)


@pytest.fixture
def server(tmp_path):
    """A service without faults so far; it shadows the shared one."""
    running = TracedServer(tmp_path / "server", workers=2, tracing=["-e", "trace=none"])
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def user(server):
    return server.add_user("owner")


@pytest.fixture
def drive(server, user):
    return made(server, user, CONTENT)


def failing(server, path, *calls: str, when: str = "1+") -> None:
    """Start the service again so that *calls* on the file *path* fail with EIO.

    *when* says which of each thread's calls: `1` is the first, `2+` all but the first.
    """
    server.stop()
    listed = ",".join(calls)
    server.tracing = ["-P", str(path), "-e", f"trace={listed}"]
    server.tracing += ["-e", f"inject={listed}:error=EIO:when={when}"]
    server.start()


def mended(server) -> None:
    """Start the service again without faults."""
    server.stop()
    server.tracing = ["-e", "trace=none"]
    server.start()


def volume(server, drive: str):
    return server.data / "stores/default" / f"{drive}.volume"


def failures(server) -> int:
    """Return how many calls were made to fail."""
    return server.trace.read_text().count("(INJECTED)")


def test_a_failed_flush_is_no_success_and_takes_the_drive_out_of_service(server, user, drive):
    other = made(server, user, CONTENT)
    failing(server, volume(server, drive), "fdatasync")

    answer = server.api("POST", f"/drives/{drive}/write", b"lost?", user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "failed")
    info = info_of(server, user, drive)
    assert info["status"] == "inactive"
    assert info["fault"] == "a flush to its store failed"
    assert info["write:requests"] == "1"
    # A second flush might succeed and would prove nothing, so nothing is tried again.
    for path, body in (("write", b"again"), ("write/5", b""), (f"image/{other}", b"")):
        refused = server.api("POST", f"/drives/{drive}/{path}", body, user=user)
        assert (refused.status, refused.headers["x-elastic-error"]) == (500, "failed"), path
    assert server.api("POST", f"/drives/{other}/image/{drive}", user=user).status == 409
    assert failures(server) == 1
    # What is of use to somebody who looks at the damage goes on, and so does every other drive.
    assert server.api("GET", f"/drives/{drive}/read/5/100", user=user).body == CONTENT[5:105]
    assert server.api("POST", f"/drives/{other}/write", b"fine", user=user).status == 204


def test_an_operator_brings_a_faulted_drive_back(server, user, drive):
    failing(server, volume(server, drive), "fdatasync")
    assert server.api("POST", f"/drives/{drive}/write", b"lost?", user=user).status == 500
    mended(server)

    # A restart alone mends nothing.
    assert info_of(server, user, drive)["status"] == "inactive"
    assert server.api("POST", f"/drives/{drive}/write", b"again", user=user).status == 500
    (fault,) = json.loads(server.run("fault", "list", "--json"))
    assert (fault["drive"], fault["user"]) == (drive, user[0])
    server.run("fault", "clear", drive)

    assert json.loads(server.run("fault", "list", "--json")) == []
    assert server.api("POST", f"/drives/{drive}/write", b"again", user=user).status == 204
    info = info_of(server, user, drive)
    assert info["status"] == "active"
    assert "fault" not in info
    assert content_of(server, user, drive) == b"again" + CONTENT[5:]


def test_a_faulted_drive_can_be_destroyed(server, user, drive):
    failing(server, volume(server, drive), "fdatasync")
    assert server.api("POST", f"/drives/{drive}/write", b"lost?", user=user).status == 500

    assert server.api("POST", f"/drives/{drive}/destroy", user=user).status == 204

    assert not volume(server, drive).exists()


def test_a_later_piece_that_cannot_be_flushed_fails_the_whole_write(server, user):
    drive = server.create("size 48M", user=user)
    failing(server, volume(server, drive), "fdatasync", when="2+")

    # Twelve pieces, so some thread of the few that take part has a second one.
    answer = server.api("POST", f"/drives/{drive}/write", bytes(48 * MIB), user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "failed")
    info = info_of(server, user, drive)
    assert (info["status"], info["write:requests"]) == ("inactive", "0")


def test_imaging_onto_a_disk_that_fails_is_a_visible_failure(server, user, drive):
    copy = server.create("size 2M", user=user)
    failing(server, volume(server, copy), "fdatasync")

    image(server, user, copy, drive)

    info = wait_for(server, user, copy, "failed")
    assert info["status"] == "inactive"
    assert info["fault"] == "a flush to its store failed"
    assert info_of(server, user, drive)["status"] == "active"
    assert server.api("POST", f"/drives/{copy}/image/{drive}", user=user).status == 500


def test_imaging_from_a_disk_that_fails_is_a_visible_failure(server, user, drive):
    copy = server.create("size 2M", user=user)
    failing(server, volume(server, drive), "preadv", "preadv2")

    image(server, user, copy, drive)

    info = wait_for(server, user, copy, "failed")
    assert info["status"] == "inactive"
    assert "read" in info["imaging:error"]
    assert server.api("GET", f"/drives/{drive}/read/0/1", user=user).status == 500


@pytest.mark.parametrize("size", ["1M", "3M"])
def test_a_change_of_size_that_cannot_be_flushed_is_no_success(server, user, drive, size):
    failing(server, volume(server, drive), "fsync", "ftruncate")

    answer = server.api("POST", f"/drives/{drive}/set", f"size {size}", user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "failed")
    assert info_of(server, user, drive)["status"] == "inactive"
    mended(server)
    server.run("fault", "clear", drive)
    size_now = int(info_of(server, user, drive)["size"])
    assert content_of(server, user, drive) == CONTENT[:size_now]
    assert server.api("POST", f"/drives/{drive}/set", "size 3M", user=user).status == 200
    assert content_of(server, user, drive) == CONTENT[:size_now].ljust(3 * MIB, b"\0")


def test_a_create_that_cannot_be_flushed_leaves_no_drive(server, user):
    store = server.data / "stores/default"
    failing(server, store, "fsync")

    answer = server.api("POST", "/drives/create", "size 1M", user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "failed")
    assert server.api("GET", "/drives/list", user=user).text == ""
    mended(server)
    assert server.api("GET", "/drives/list", user=user).text == ""
    assert not list(store.glob("*.volume"))


def test_a_destroy_that_cannot_be_flushed_is_done_at_the_next_start(server, user, drive):
    failing(server, server.data / "stores/default", "fsync")

    answer = server.api("POST", f"/drives/{drive}/destroy", user=user)

    # Its key is gone already, so there is no way back.
    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "failed")
    assert server.api("GET", "/drives/list", user=user).text == ""
    mended(server)
    assert server.api("GET", "/drives/list", user=user).text == ""
    assert not volume(server, drive).exists()


def test_a_catalog_that_could_not_be_flushed_takes_no_changes_until_a_restart(server, user, drive):
    server.workers = 1
    failing(server, server.data / "catalog.sqlite", "fdatasync", when="1")

    answers = [
        server.api("POST", f"/drives/{drive}/{path}", body, user=user)
        for path, body in (("set", "name changed"), ("set", "name again"), ("destroy", b""))
    ]

    for answer in answers:
        assert (answer.status, answer.headers["x-elastic-error"]) == (500, "system")
    assert info_of(server, user, drive)["name"] == ""
    assert content_of(server, user, drive) == CONTENT
    assert server.api("POST", f"/drives/{drive}/write", CONTENT[::-1], user=user).status == 204
    mended(server)
    assert info_of(server, user, drive)["name"] == ""
    assert server.api("POST", f"/drives/{drive}/set", "name changed", user=user).status == 200
    assert content_of(server, user, drive) == CONTENT[::-1]


def test_a_catalog_whose_disk_fails_for_good_loses_nothing(server, user, drive):
    failing(server, server.data / "catalog.sqlite", "fdatasync")

    answers = [
        server.api("POST", f"/drives/{drive}/set", f"name n{turn}", user=user) for turn in range(4)
    ]

    for answer in answers:
        assert (answer.status, answer.headers["x-elastic-error"]) == (500, "system")
    server.kill()
    server.tracing = ["-e", "trace=none"]
    server.start()
    assert info_of(server, user, drive)["name"] == ""
    assert content_of(server, user, drive) == CONTENT


def test_a_size_whose_commit_failed_and_held_is_one_that_the_volume_has(server, user, drive):
    """The third flush of the journal comes after the transaction has taken effect."""
    server.workers = 1
    failing(server, server.data / "catalog.sqlite-journal", "fdatasync", when="3")

    answer = server.api("POST", f"/drives/{drive}/set", "size 3M", user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "system")
    assert failures(server) == 1
    for restart in (lambda: None, lambda: mended(server)):
        restart()
        size = int(info_of(server, user, drive)["size"])
        assert info_of(server, user, drive)["status"] == "active"
        assert content_of(server, user, drive) == CONTENT.ljust(size, b"\0")

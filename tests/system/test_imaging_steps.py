"""Imaging while it is underway: queue, percentage, claims, refusals, cancelling, restarts."""

import gzip
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPException

import pytest

from drivebay.units import MIB
from live import Credentials
from system.drives import content_of, image, info_of, is_being_cancelled, made, wait_for
from system.stepped import SteppedServer
from system.waiting import wait_until

NOISE = random.Random(32)
PIECES = 5
CONTENT = NOISE.randbytes(PIECES * 4 * MIB - 777)
"""Five pieces of a copy, the last one not whole."""

BEGINNING = {"queued", "0%"}


@pytest.fixture
def stepped(tmp_path):
    """A service that images one drive at a time, with nothing let through yet."""
    server = SteppedServer(tmp_path / "stepped", options=["--imaging-jobs", "1"])
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def user(stepped):
    return stepped.add_user("imager")


@pytest.fixture
def source(stepped, user):
    return made(stepped, user, CONTENT)


@pytest.fixture
def destinations(stepped, user):
    """Make so many drives as large as the content."""

    def make(count: int) -> list[str]:
        return [stepped.create(f"size {len(CONTENT)}", user=user) for _ in range(count)]

    return make


def unanswered(server: SteppedServer, path: str, user: Credentials) -> None:
    """Send a request that a kill may leave without an answer."""
    with suppress(OSError, HTTPException):
        server.api("POST", path, user=user)


def test_few_run_the_rest_are_queued_and_all_hold_their_source(stepped, user, source, destinations):
    first, second, third = drives = destinations(3)

    for drive in drives:
        image(stepped, user, drive, source)

    wait_for(stepped, user, first, "0%")
    assert stepped.api("GET", f"/drives/{first}/info", user=user).record["imaging"] == "true"
    for drive in (second, third):
        assert info_of(stepped, user, drive)["imaging"] == "queued"
        plain = stepped.api("GET", f"/drives/{drive}/info", user=user).record
        assert plain["imaging"] == "queued"
    assert info_of(stepped, user, source)["claimed"] == " ".join(drives)
    assert {info_of(stepped, user, drive)["claimed"] for drive in drives} == {source}
    # One step more than pieces: the copy tells its end once more.
    stepped.step(PIECES + 1)
    assert "claimed" not in wait_for(stepped, user, first, None)
    wait_for(stepped, user, second, "0%")
    assert info_of(stepped, user, third)["imaging"] == "queued"
    assert info_of(stepped, user, source)["claimed"] == f"{second} {third}"
    stepped.open_gate()
    for drive in drives:
        wait_for(stepped, user, drive, None)
        assert content_of(stepped, user, drive) == CONTENT
    assert "claimed" not in info_of(stepped, user, source)


def test_the_percentage_tells_what_is_durably_done(stepped, user, source, destinations):
    (drive,) = destinations(1)
    image(stepped, user, drive, source)

    for piece in range(1, PIECES):
        stepped.step()
        wait_for(stepped, user, drive, f"{piece * 4 * MIB * 100 // len(CONTENT)}%")

    stepped.step()
    wait_for(stepped, user, drive, "100%")
    stepped.step()
    assert wait_for(stepped, user, drive, None)["status"] == "active"


@pytest.mark.parametrize("state", ["queued", "0%"])
def test_what_would_disturb_an_imaging_is_refused(stepped, user, source, destinations, state):
    running, waiting, other = destinations(3)
    image(stepped, user, running, source)
    wait_for(stepped, user, running, "0%")
    image(stepped, user, waiting, source)
    drive = waiting if state == "queued" else running
    refusals = [
        (source, "write", b"x"),
        (source, "set", "size 1M"),
        (source, "destroy", b""),
        (source, f"image/{other}", b""),
        (drive, "write", b"x"),
        (drive, "write/0", b""),
        (drive, "set", "size 30M"),
        (drive, "destroy", b""),
        (drive, f"image/{other}", b""),
        (drive, "read/0/1", b""),
        (other, f"image/{drive}", b""),
    ]

    answers = [
        stepped.api("POST", f"/drives/{target}/{call}", body, user=user)
        for target, call, body in refusals
    ]

    for refusal, answer in zip(refusals, answers, strict=True):
        assert (answer.status, answer.headers["x-elastic-error"]) == (409, "busy"), refusal
    # What disturbs nothing goes on.
    assert content_of(stepped, user, source) == CONTENT
    for target in (source, drive):
        same = f"size {len(CONTENT)}\nname renamed\nuser:note kept"
        answer = stepped.api("POST", f"/drives/{target}/set", same, user=user)
        assert (answer.status, answer.record["name"]) == (200, "renamed")
    stepped.open_gate()
    wait_for(stepped, user, waiting, None)
    assert content_of(stepped, user, drive) == CONTENT


def test_cancelling_a_queued_imaging_leaves_the_drive_as_it_was(
    stepped, user, source, destinations
):
    running, waiting = destinations(2)
    assert stepped.api("POST", f"/drives/{waiting}/write", b"before", user=user).status == 204
    image(stepped, user, running, source)
    wait_for(stepped, user, running, "0%")
    image(stepped, user, waiting, source)

    answer = stepped.api("POST", f"/drives/{waiting}/image/cancel", user=user)

    assert answer.status == 204
    info = info_of(stepped, user, waiting)
    assert info["status"] == "active"
    assert info.keys().isdisjoint({"imaging", "imaging:error", "claimed"})
    assert content_of(stepped, user, waiting)[:7] == b"before\0"
    assert info_of(stepped, user, source)["claimed"] == running
    answer = stepped.api("POST", f"/drives/{waiting}/image/cancel", user=user)
    assert (answer.status, answer.headers["x-elastic-error"]) == (409, "busy")


def test_cancelling_a_running_imaging_waits_for_its_end_and_leaves_it_failed(
    stepped, user, source, destinations
):
    drive, next_one = destinations(2)
    image(stepped, user, drive, source)
    image(stepped, user, next_one, source)
    stepped.step(2)
    wait_for(stepped, user, drive, f"{8 * MIB * 100 // len(CONTENT)}%")

    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(stepped.api, "POST", f"/drives/{drive}/image/cancel", user=user)
        wait_until(lambda: is_being_cancelled(stepped, drive))
        # The copy notices at its next piece, or at the one after when it was past looking.
        wait_until(lambda: stepped.step() or cancelled.done())

    assert cancelled.result().status == 204
    info = info_of(stepped, user, drive)
    assert (info["imaging"], info["status"]) == ("failed", "inactive")
    assert info["imaging:error"] == "cancelled by its owner"
    assert "claimed" not in info
    # The next in line gets its turn.
    stepped.open_gate()
    wait_for(stepped, user, next_one, None)
    assert content_of(stepped, user, next_one) == CONTENT


def test_a_stream_that_unpacks_to_very_much_can_be_cancelled_meanwhile(stepped, user):
    source = made(stepped, user, gzip.compress(b"\1" * (64 * MIB)))
    drive = stepped.create("size 64M", user=user)
    image(stepped, user, drive, source, "/gunzip")
    wait_for(stepped, user, drive, "0%")

    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(stepped.api, "POST", f"/drives/{drive}/image/cancel", user=user)
        wait_until(lambda: is_being_cancelled(stepped, drive))
        stepped.step()

    assert cancelled.result().status == 204
    assert wait_for(stepped, user, drive, "failed")["imaging:error"] == "cancelled by its owner"
    assert stepped.api("GET", f"/drives/{drive}/read/60M/4M", user=user).body == bytes(4 * MIB)


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_copy_goes_on_after_a_restart_where_it_was_durable(
    stepped, user, source, destinations, way
):
    drive, queued = destinations(2)
    image(stepped, user, drive, source)
    image(stepped, user, queued, source)
    stepped.step(3)
    wait_for(stepped, user, drive, f"{12 * MIB * 100 // len(CONTENT)}%")
    stepped.wait_for_arrivals(4)

    getattr(stepped, way)()
    stepped.start()

    # What SIGTERM came upon was copied to the end of its piece and recorded.
    done = 16 * MIB if way == "stop" else 12 * MIB
    wait_for(stepped, user, drive, f"{done * 100 // len(CONTENT)}%")
    assert f"imaging {drive} from {source}: started at {done}" in stepped.log.read_text()
    assert info_of(stepped, user, queued)["imaging"] == "queued"
    assert info_of(stepped, user, source)["claimed"] == f"{drive} {queued}"
    stepped.open_gate()
    for one in (drive, queued):
        wait_for(stepped, user, one, None)
        assert content_of(stepped, user, one) == CONTENT


def test_an_orderly_end_leaves_no_job_that_looks_as_if_it_ran(stepped, user, source, destinations):
    """A cancel that came while the last requests ended would wait for the runner that is gone."""
    (drive,) = destinations(1)
    image(stepped, user, drive, source)
    wait_for(stepped, user, drive, "0%")

    stepped.stop()

    with closing(sqlite3.connect(stepped.data / "catalog.sqlite")) as database:
        assert database.execute("SELECT state FROM jobs").fetchall() == [("queued",)]


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_conversions_end_right_after_a_restart_in_the_middle(
    stepped, user, source, destinations, way
):
    packed = stepped.create(f"size {len(CONTENT) + MIB}\nencryption:cipher none", user=user)
    (copy,) = destinations(1)

    for drive, origin, conversion in ((packed, source, "/gzip"), (copy, packed, "/gunzip")):
        image(stepped, user, drive, origin, conversion)
        stepped.step(2)
        wait_until(lambda drive=drive: info_of(stepped, user, drive)["imaging"] not in BEGINNING)
        getattr(stepped, way)()
        stepped.start()
        stepped.open_gate()
        wait_for(stepped, user, drive, None)
        getattr(stepped, way)()
        stepped.start()

    assert content_of(stepped, user, copy) == CONTENT


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_cancel_that_a_restart_came_upon_is_not_forgotten(
    stepped, user, source, destinations, way
):
    (drive,) = destinations(1)
    image(stepped, user, drive, source)
    stepped.step()
    wait_for(stepped, user, drive, f"{4 * MIB * 100 // len(CONTENT)}%")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(unanswered, stepped, f"/drives/{drive}/image/cancel", user)
        wait_until(lambda: is_being_cancelled(stepped, drive))
        getattr(stepped, way)()
        asked.result()

    stepped.start()

    info = wait_for(stepped, user, drive, "failed")
    assert info["imaging:error"] == "cancelled by its owner"
    assert stepped.api("POST", f"/drives/{drive}/write", b"new", user=user).status == 204
    assert info_of(stepped, user, drive)["status"] == "active"

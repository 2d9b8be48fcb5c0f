"""What an answer of success promises is on the disk before the answer is on its way."""

import gzip
import os

import pytest

from drivebay.units import MIB
from system.drives import made, wait_for
from system.traced import TracedServer, Undurable, answers, needs_strace
from system.waiting import wait_until

pytestmark = needs_strace


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    server = TracedServer(tmp_path_factory.mktemp("traced"), workers=1)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def call(traced):
    """Make one call, and return what had not been flushed when its answer was sent, and what had.

    Counters are left out: they are promised to lose up to a second.
    """

    def call(path: str, body: bytes | str = b"", **headers: str) -> Undurable:
        before = written_up(traced)
        answer = traced.api("POST", path, body, headers=headers)
        assert answer.status in {200, 204}, answer
        written_up(traced)
        *_, found = answers(lines_from(traced, before))
        found.paths = {path for path in found.paths if "/counters" not in path}
        return found

    return call


def lines_from(traced, start: int) -> list[str]:
    """Return the lines of the trace that were written behind its first *start* bytes."""
    with traced.trace.open() as trace:
        trace.seek(start)
        return trace.read().splitlines()


def written_up(traced) -> int:
    """Return the size of the trace once all that was answered so far stands in it.

    An answer may be here before its line is there; a refused call behind it shows when.
    """
    before = traced.trace.stat().st_size
    assert traced.api("POST", "/nowhere").status == 404
    wait_until(lambda: any('"HTTP/1.1 404' in line for line in lines_from(traced, before)))
    return traced.trace.stat().st_size


@pytest.fixture(params=["none", "aes-xts-plain"])
def drive(traced, request):
    return made(
        traced, traced.first, os.urandom(9 * MIB), text=f"encryption:cipher {request.param}"
    )


def volume(traced, drive: str) -> str:
    return str(traced.data / "stores/default" / f"{drive}.volume")


def catalog(traced) -> set[str]:
    return {str(traced.data / "catalog.sqlite"), str(traced.data / "catalog.sqlite-journal")}


@pytest.mark.parametrize(
    ("offset", "body"),
    [
        (0, os.urandom(4 * MIB)),
        (4095, b"x"),
        (777, os.urandom(8 * MIB + 5)),
        (0, bytes(MIB)),
        (MIB + 3, bytes(MIB)),
    ],
    ids=["piece", "byte", "pieces", "zeros", "zeros over edges"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gzip"])
def test_a_write_is_flushed_before_its_204(traced, call, drive, offset, body, packed):
    sent, headers = (gzip.compress(body, 1), {"Content-Encoding": "gzip"}) if packed else (body, {})

    found = call(f"/drives/{drive}/write/{offset}", sent, **headers)

    assert found.paths == set()
    assert volume(traced, drive) in found.flushed


def test_a_new_drive_is_flushed_before_its_record_is_sent(traced, call):
    found = call("/drives/create", "size 1M")

    assert found.paths == set()
    (drive,) = (path for path in found.flushed if path.endswith(".volume"))
    assert {drive, os.path.dirname(drive), *catalog(traced)} <= found.flushed  # noqa: PTH120


@pytest.mark.parametrize("size", ["1M", "5000001", "9437184", "9M", "30M"])
def test_a_change_of_size_is_flushed_before_its_record_is_sent(traced, call, drive, size):
    found = call(f"/drives/{drive}/set", f"size {size}\nname sized")

    assert found.paths == set()
    assert catalog(traced) <= found.flushed


def test_changed_fields_are_flushed_before_their_record_is_sent(traced, call, drive):
    found = call(f"/drives/{drive}/set", "name other\nuser:a b\ntags c d")

    assert found.paths == set()
    assert catalog(traced) <= found.flushed


def test_a_destroy_is_flushed_before_its_204(traced, call, drive):
    found = call(f"/drives/{drive}/destroy")

    assert found.paths == set()
    assert {str(traced.data / "stores/default"), *catalog(traced)} <= found.flushed


def test_an_imaging_is_durable_when_it_is_queued_and_when_it_is_over(traced, call, drive):
    copy = traced.create("size 9M")
    before = written_up(traced)

    queued = call(f"/drives/{copy}/image/{drive}")
    wait_for(traced, traced.first, copy, None)
    written_up(traced)

    assert catalog(traced) <= queued.flushed
    seen = list(answers(lines_from(traced, before)))
    assert volume(traced, copy) not in seen[-1].paths
    assert volume(traced, copy) in set().union(*(one.flushed for one in seen))

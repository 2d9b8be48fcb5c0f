"""Drives that are in use: what imaging shows and refuses, and requests that meet on one drive.

The numbers are those of the list of bad inputs that this suite was made from.
"""

import gzip
import itertools
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivebay.units import MIB
from live import Answer
from wire.exchange import Caller, Wire, eventually, refused, request

OTHER_FILES = ("symlink", "directory", "fifo", "socket", "device", "nothing")


@pytest.fixture
def other(server) -> Caller:
    """A user of the test's own."""
    return Caller(server, server.add_user())


def ended(caller: Caller, drive: str) -> dict[str, str]:
    """Wait for the end of the imaging of *drive* and return its record."""
    eventually(lambda: caller.info(drive).get("imaging", "failed") == "failed")
    return caller.info(drive)


@pytest.mark.parametrize("conversion", ["", "/gzip", "/gunzip"])
def test_claimed_and_imaging_come_with_the_answer_and_vanish_together(other, conversion):
    content = gzip.compress(os.urandom(3 * MIB)) if "gun" in conversion else os.urandom(3 * MIB)
    source = other.create("size 4M")
    other.write(source, content)
    drives = [other.create("size 8M") for _ in range(3)]
    with Wire(other.server) as wire:

        def record(drive: str, full: str) -> dict[str, str]:
            return wire.ask("GET", f"/drives/{drive}/info{full}", user=other.user).record

        with other.server.stopped("jobs"):
            for drive in drives:
                path = f"/drives/{drive}/image/{source}{conversion}"
                assert wire.ask("POST", path, "", user=other.user).status == 204
                first = record(drive, "")
                assert (first["imaging"], first["claimed"]) == ("queued", source)
        for full in itertools.cycle(["", "/full"]):
            records = [record(drive, full) for drive in drives]
            for shown in records:
                assert ("imaging" in shown) == ("claimed" in shown)
                pattern = r"queued|[0-9]{1,3}%" if full else "queued|true"
                assert re.fullmatch(pattern, shown.get("imaging", "queued"))
            if not any("imaging" in shown for shown in records):
                break

    assert "claimed" not in other.info(source)
    assert {other.info(drive)["status"] for drive in drives} == {"active"}


def test_gunzip_of_what_is_no_gzip_fails_visibly_and_in_bounded_time_41(other):
    source, drive = other.create("size 1M"), other.create("size 1M")
    other.write(source, os.urandom(MIB))

    assert other.ask("POST", f"/drives/{drive}/image/{source}/gunzip", "").status == 204

    record = ended(other, drive)
    assert (record["imaging"], record["status"]) == ("failed", "inactive")
    assert "gzip" in record["imaging:error"]
    assert "claimed" not in record


def test_gunzip_of_a_stream_larger_than_the_destination_stops_at_its_end_41(other):
    source, drive, beside = other.create("size 1M"), other.create("size 70000"), other.create()
    other.write(source, gzip.compress(bytes(64 * MIB) + b"x"))

    assert other.ask("POST", f"/drives/{drive}/image/{source}/gunzip", "").status == 204

    record = ended(other, drive)
    assert (record["imaging"], record["size"]) == ("failed", "70000")
    assert "too small" in record["imaging:error"]
    assert other.read(beside, 0, 65536) == bytes(65536)


def test_gzip_into_a_destination_that_is_too_small_fails_and_writes_nothing_past_its_end_42(other):
    source, drive = other.create("size 1M"), other.create("size 4097")
    other.write(source, os.urandom(MIB))

    assert other.ask("POST", f"/drives/{drive}/image/{source}/gzip", "").status == 204

    record = ended(other, drive)
    assert (record["imaging"], record["size"]) == ("failed", "4097")
    assert other.ask("POST", f"/drives/{drive}/set", "size 1M").status == 200
    assert other.read(drive, 4097, 4096) == bytes(4096)


@pytest.mark.parametrize("conversion", ["", "/gzip", "/gunzip"])
def test_a_drive_is_not_imaged_from_itself_48(caller, kept, conversion):
    answer = caller.ask("POST", f"/drives/{kept}/image/{kept}{conversion}", "")

    refused(answer, 400, "usage")


def test_a_ring_of_imagings_ends_and_its_members_are_imaged_or_refused_49(other):
    drives = [other.create("size 64k") for _ in range(30)]
    for number, drive in enumerate(drives):
        other.write(drive, bytes([number + 1]) * 65536)
    pairs = list(zip(drives, drives[1:] + drives[:1], strict=True)) * 2

    def image(pair: tuple[str, str]) -> Answer:
        return other.ask("POST", f"/drives/{pair[0]}/image/{pair[1]}", "")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(image, pairs))

    for answer in answers:
        assert answer.status == 204 or refused(answer, 409, "busy")
    for drive in drives:
        assert "imaging" not in ended(other, drive)
        content = other.read(drive, 0, 65536)
        assert content == content[:1] * 65536


def test_both_directions_at_once_are_one_imaging_and_one_refusal_49(other):
    one, two = other.create("size 2M"), other.create("size 2M")
    other.write(one, b"1" * MIB)
    other.write(two, b"2" * MIB)
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            pairs = [(one, two), (two, one)]
            answers = pool.map(
                lambda p: other.ask("POST", f"/drives/{p[0]}/image/{p[1]}", ""), pairs
            )

        assert 204 in {answer.status for answer in answers}
        ended(other, one)
        ended(other, two)
    assert other.read(one, 0, MIB) == other.read(two, 0, MIB)


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_what_was_put_in_a_volumes_place_is_not_followed_47(other, tmp_path, kind):
    drive = other.create("encryption:cipher none\nsize 64k")
    volume = other.server.data / "stores/default" / f"{drive}.volume"
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 20_000)
    aside = volume.rename(tmp_path / "aside")
    match kind:
        case "symlink":
            volume.symlink_to(secret)
        case "directory":
            volume.mkdir()
        case "fifo":
            os.mkfifo(volume)
        case "socket":
            os.mknod(volume, 0o140600)
        case "device":
            os.mknod(volume, 0o020600, os.makedev(1, 5))

    refused(other.ask("GET", f"/drives/{drive}/read/0/6"), 500, "failed")
    refused(other.ask("POST", f"/drives/{drive}/write", b"x" * 6), 500, "failed")
    refused(other.ask("POST", f"/drives/{drive}/set", "size 128k"), 500, "failed")
    assert other.info(drive)["status"] == "inactive"

    assert secret.read_bytes() == b"secret" * 20_000
    volume.rmdir() if kind == "directory" else volume.unlink(missing_ok=True)
    aside.rename(volume)
    assert other.read(drive, 0, 6) == bytes(6)


def test_changes_of_size_and_writes_take_effect_one_after_the_other_77(other):
    drive = other.create("size 1M")
    sizes = ["size 512k", "size 1M"] * 10

    def write(number: int) -> Answer:
        return other.ask("POST", f"/drives/{drive}/write/768k", bytes([number + 1]) * 65536)

    with ThreadPoolExecutor(4) as pool:
        writes = pool.map(write, range(20))
        resized = pool.map(lambda text: other.ask("POST", f"/drives/{drive}/set", text), sizes)

        for answer in writes:
            assert answer.status == 204 or refused(answer, 507, "full")
        for answer in resized:
            assert answer.status == 200 or refused(answer, 409, "busy")
    other.ask("POST", f"/drives/{drive}/set", "size 1M")
    content = other.read(drive, 768 * 1024, 65536)
    assert content == content[:1] * 65536


def test_the_claim_type_changes_while_the_drive_is_a_source_80(other):
    source = other.create("size 4M\nclaim:type shared")
    other.write(source, os.urandom(4 * MIB))
    drives = [other.create("size 4M") for _ in range(3)]

    with other.server.stopped("jobs"):
        for drive in drives:
            assert other.ask("POST", f"/drives/{drive}/image/{source}", "").status == 204
        for text in ("claim:type exclusive", "claim:type shared", "claim:type exclusive"):
            assert other.ask("POST", f"/drives/{source}/set", text).status == 200

    assert all("imaging" not in ended(other, drive) for drive in drives)
    assert "claim:type" not in other.info(source)


@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_a_read_beside_overwrites_is_all_old_or_all_new_82(other, cipher):
    drive = other.create(f"size 4M\nencryption:cipher {cipher}")
    offset, length = 4096 * 3 - 7, 1 * MIB + 13
    write = f"/drives/{drive}/write/{offset}"
    read = f"/drives/{drive}/read/{offset}/{length}"
    parts = [
        b"".join(
            request("POST", write, bytes([16 * writer + turn]) * length, user=other.user)
            for turn in range(1, 6)
        )
        for writer in range(2)
    ]
    seen = set()
    has_seen_enough = threading.Event()

    def overwrite(data: bytes) -> None:
        with Wire(other.server) as wire:
            while not has_seen_enough.is_set():
                wire.send(data)
                assert [wire.answer().status for _ in range(5)] == [204] * 5

    def look() -> bool:
        content = wire.ask("GET", read, user=other.user).body
        assert content == content[:1] * length
        seen.add(content[0])
        return len(seen) > 5

    with ThreadPoolExecutor(2) as pool, Wire(other.server) as wire:
        overwrites = [pool.submit(overwrite, data) for data in parts]
        try:
            eventually(look)
        finally:
            has_seen_enough.set()
        for one in overwrites:
            one.result()

"""What imaging leaves on a drive: content, holes, and after a failure the reason."""

import gzip
import random
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from drivebay.units import KIB, MIB
from system.drives import content_of, image, imaged, info_of, made, wait_for
from system.waiting import wait_until

NOISE = random.Random(1996)
SIZES = [5 * MIB, 4 * MIB + 777, 4095]
CIPHERS = ["none", "aes-xts-plain"]
UNKNOWN = "0012e24a-6eae-4279-9912-3432f698cec8"


def blocks_of(server, drive: str) -> int:
    """Return the bytes that the drive takes up on disk."""
    volume = Path(server.data / "stores/default" / f"{drive}.volume")
    return volume.stat().st_blocks * 512


def sparse(size: int) -> bytes:
    """Return *size* bytes with noise at the start, in the middle and at the end."""
    content = bytearray(size)
    for at in (0, size // 2 + 5, size - 70 * KIB):
        content[at : at + 70 * KIB] = NOISE.randbytes(70 * KIB)
    return bytes(content)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("to", CIPHERS)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_ciphers_and_sizes_may_differ_and_what_lies_behind_stays(server, owner, cipher, to, size):
    content, before = NOISE.randbytes(size), NOISE.randbytes(size + MIB + 3)
    source = made(server, owner, content, text=f"encryption:cipher {cipher}")
    drive = made(server, owner, before, text=f"encryption:cipher {to}")

    info = imaged(server, owner, drive, source)

    assert info["status"] == "active"
    assert info.keys().isdisjoint({"imaging", "claimed"})
    assert content_of(server, owner, drive) == content + before[size:]
    assert content_of(server, owner, source) == content


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_gzip_and_gunzip_undo_each_other(server, owner, cipher, size):
    content = NOISE.randbytes(size // 2) + bytes(size - size // 2)
    source = made(server, owner, content, text=f"encryption:cipher {cipher}")
    packed = server.create(f"size {size + MIB}", user=owner)
    copy = server.create(f"size {size}", user=owner)

    imaged(server, owner, packed, source, "/gzip")
    imaged(server, owner, copy, packed, "/gunzip")

    assert content_of(server, owner, copy) == content
    # Anybody's gunzip reads the stream, and behind it the drive is as it was.
    stream = zlib.decompressobj(wbits=31)
    assert stream.decompress(content_of(server, owner, packed)) == content
    assert stream.eof
    assert not stream.unused_data.strip(b"\0")


@pytest.mark.parametrize("conversion", ["", "/gunzip"])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_holes_stay_holes_and_replace_what_was_there(server, owner, cipher, conversion):
    content = sparse(24 * MIB)
    stored = gzip.compress(content, 1) if conversion else content
    source = made(server, owner, stored, text="encryption:cipher none")
    full = NOISE.randbytes(24 * MIB)
    drive = made(server, owner, full, text=f"encryption:cipher {cipher}")
    assert blocks_of(server, drive) >= 24 * MIB

    imaged(server, owner, drive, source, conversion)

    assert content_of(server, owner, drive) == content
    assert blocks_of(server, drive) < MIB


@pytest.mark.parametrize(
    "padding",
    [b"\0", bytes(5 * MIB), b"\x1f", b"any garbage", b"\0\x1f\x8b\x08"],
    ids=["one zero", "zeros", "half a magic", "text", "a member behind a zero"],
)
def test_gunzip_ignores_what_follows_the_stream(server, owner, padding):
    content = b"the content " * 1000
    source = made(server, owner, gzip.compress(content) + padding)
    drive = server.create(f"size {len(content)}", user=owner)

    info = imaged(server, owner, drive, source, "/gunzip")

    assert "imaging" not in info
    assert content_of(server, owner, drive) == content


def test_gunzip_takes_a_stream_that_ends_with_its_drive_and_several_members(server, owner):
    # `pigz` and `cat a.gz b.gz` make such streams; the second begins in the second piece.
    parts = [NOISE.randbytes(4 * MIB), b"", b"the second"]
    source = made(server, owner, b"".join(gzip.compress(part, 1) for part in parts))
    drive = server.create("size 5M", user=owner)

    imaged(server, owner, drive, source, "/gunzip")

    assert content_of(server, owner, drive) == b"".join(parts).ljust(5 * MIB, b"\0")


def test_a_stream_of_very_many_members_does_not_hold_the_others_up(server, owner):
    member = gzip.compress(b"")
    source = made(server, owner, member * (2 * MIB // len(member)) + gzip.compress(b"the end"))
    drive = server.create("size 4k", user=owner)

    imaged(server, owner, drive, source, "/gunzip")

    assert content_of(server, owner, drive) == b"the end".ljust(4 * KIB, b"\0")


WHOLE = gzip.compress(NOISE.randbytes(6 * MIB), 1)
BROKEN = {
    "no stream": (b"no gzip stream", "does not hold a gzip stream"),
    "nothing": (bytes(100), "does not hold a gzip stream"),
    "half a magic": (b"\x1f", "ends before its end"),
    "cut short": (WHOLE[:-9], "ends before its end"),
    "wrong checksum": (WHOLE[:-8] + bytes([WHOLE[-8] ^ 1]) + WHOLE[-7:], "damaged"),
    "wrong length": (WHOLE[:-4] + bytes([WHOLE[-4] ^ 1]) + WHOLE[-3:], "damaged"),
    "too long": (gzip.compress(bytes(9 * MIB)), "too small"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_failed_gunzip_says_why(server, owner, kind):
    stream, reason = BROKEN[kind]
    source = made(server, owner, stream)
    drive = server.create("size 8M", user=owner)

    info = imaged(server, owner, drive, source, "/gunzip")

    assert (info["imaging"], info["status"]) == ("failed", "inactive")
    assert reason in info["imaging:error"]
    assert "claimed" not in info
    assert info_of(server, owner, source)["status"] == "active"


def test_a_gzip_stream_that_does_not_fit_says_so(server, owner):
    source = made(server, owner, NOISE.randbytes(5 * MIB))
    drive = server.create("size 5M", user=owner)

    info = imaged(server, owner, drive, source, "/gzip")

    assert (info["imaging"], info["status"]) == ("failed", "inactive")
    assert "too small" in info["imaging:error"]


def test_a_copy_that_cannot_fit_is_507_at_once_and_changes_nothing(server, owner):
    source = made(server, owner, NOISE.randbytes(MIB + 1))
    before = NOISE.randbytes(MIB)
    drive = made(server, owner, before)

    answer = server.api("POST", f"/drives/{drive}/image/{source}", user=owner)

    assert (answer.status, answer.headers["x-elastic-error"]) == (507, "full")
    info = info_of(server, owner, drive)
    assert info["status"] == "active"
    assert info.keys().isdisjoint({"imaging", "claimed"})
    assert content_of(server, owner, drive) == before


@pytest.fixture
def failed(server, owner):
    """A drive whose imaging has failed, so that it is inactive."""
    source = made(server, owner, b"no gzip stream")
    drive = made(server, owner, b"before", text="name failed")
    assert imaged(server, owner, drive, source, "/gunzip")["imaging"] == "failed"
    return drive


def test_a_failed_drive_is_no_source_and_may_be_read_and_renamed(server, owner, failed):
    other = server.create("size 1M", user=owner)

    answer = server.api("POST", f"/drives/{other}/image/{failed}", user=owner)

    assert (answer.status, answer.headers["x-elastic-error"]) == (409, "busy")
    assert server.api("GET", f"/drives/{failed}/read/0/6", user=owner).status == 200
    renamed = server.api("POST", f"/drives/{failed}/set", "name still failed", user=owner)
    assert (renamed.status, renamed.record["status"]) == (200, "inactive")
    resized = server.api("POST", f"/drives/{failed}/set", "size 2M", user=owner)
    assert (resized.status, resized.record["status"]) == (200, "inactive")


def test_a_write_makes_a_failed_drive_active_again(server, owner, failed):
    assert server.api("POST", f"/drives/{failed}/write", b"x" * 9, user=owner).status == 507
    assert info_of(server, owner, failed)["status"] == "inactive"

    assert server.api("POST", f"/drives/{failed}/write", b"after", user=owner).status == 204

    info = info_of(server, owner, failed)
    assert info["status"] == "active"
    assert info.keys().isdisjoint({"imaging", "imaging:error"})


def test_another_imaging_makes_a_failed_drive_active_again(server, owner, failed):
    source = made(server, owner, b"after")

    info = imaged(server, owner, failed, source)

    assert info["status"] == "active"
    assert content_of(server, owner, failed)[:5] == b"after"


def test_a_failed_drive_can_be_destroyed_and_so_can_its_source(server, owner, failed):
    for drive in server.api("GET", "/drives/list", user=owner).text.split():
        assert server.api("POST", f"/drives/{drive}/destroy", user=owner).status == 204

    assert server.api("GET", "/drives/list", user=owner).text == ""


def test_several_drives_are_imaged_from_one_source_at_once(server, owner):
    content = sparse(12 * MIB)
    source = made(server, owner, gzip.compress(content, 1))
    drives = [server.create(f"size {len(content)}", user=owner) for _ in range(6)]

    for drive in drives:
        image(server, owner, drive, source, "/gunzip")

    for drive in drives:
        wait_for(server, owner, drive, None)
        assert content_of(server, owner, drive) == content
    assert "claimed" not in info_of(server, owner, source)


def test_a_reader_images_from_a_shared_drive_and_nobody_else_does(server, owner):
    reader, stranger = server.add_user("reader"), server.add_user("stranger")
    content = NOISE.randbytes(MIB)
    source = made(server, owner, content, text=f"readers {reader[0]}")

    def answer(user) -> tuple[int, str]:
        drive = server.create("size 1M", user=user)
        asked = server.api("POST", f"/drives/{drive}/image/{source}", user=user)
        return asked.status, drive

    (status, drive), (refused, _) = answer(reader), answer(stranger)

    assert (status, refused) == (204, 404)
    wait_for(server, reader, drive, None)
    assert content_of(server, reader, drive) == content
    asked = server.api("POST", f"/drives/{source}/image/{drive}", user=reader)
    unknown = server.api("POST", f"/drives/{UNKNOWN}/image/{drive}", user=reader)
    assert (asked.status, asked.text.replace(source, UNKNOWN)) == (404, unknown.text)


def test_nobody_keeps_a_volume_open_that_was_imaged_a_while_ago(server, owner):
    """So that a store's file system can be unmounted."""
    source = made(server, owner, NOISE.randbytes(5 * MIB))
    drive = server.create("size 5M", user=owner)

    image(server, owner, drive, source)
    wait_for(server, owner, drive, None)

    wait_until(lambda: not open_files(server, {source, drive}))


def open_files(server, drives: set[str]) -> list[Path]:
    """Return the volumes of *drives* that a process of the service has open."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    found = []
    for process in children:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):  # Closed since it was listed.
                found.append(descriptor.readlink())
    return [path for path in found if path.stem in drives]

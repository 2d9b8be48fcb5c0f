"""Gzip bodies: one sound member, inflated within bounds, and every other body refused whole.

The numbers in the ids are those of the list of bad inputs that this suite was made from.
"""

import gzip
import os
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from isal import isal_zlib

from drivebay.units import GIB, KIB, MIB
from wire.conftest import CONTENT
from wire.exchange import Caller, refused
from wire.processes import memory_before, peaks_grown

GZIP = "Content-Encoding: gzip"
NOISE = os.urandom(20000)
GOOD = gzip.compress(NOISE, mtime=0)

BOMB_MEMORY = 20 * MIB
"""Some pieces of 4 MiB: the body, what it holds, and what the allocator keeps."""


def member(flags: int, extra: bytes = b"", *, data: bytes = NOISE) -> bytes:
    """Return one gzip member with *flags* and what they announce."""
    deflated = zlib.compress(data, wbits=-15)
    head = struct.pack("<HBBIBB", 0x8B1F, 8, flags, 0, 0, 255)
    return head + extra + deflated + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


BAD = {
    "34-two-members": GOOD + GOOD,
    "34-10000-members": gzip.compress(b"x", mtime=0) * 10_000,
    "34-an-empty-member-behind": GOOD + gzip.compress(b"", mtime=0),
    "35-one-byte-behind": GOOD + b"\0",
    "35-garbage-behind": GOOD + b"garbage" * 100,
    "35-zeros-behind": GOOD + bytes(4096),
    "36-wrong-crc": GOOD[:-8] + bytes([GOOD[-8] ^ 1]) + GOOD[-7:],
    "36-wrong-length": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
    "36-flipped-bit": GOOD[:9000] + bytes([GOOD[9000] ^ 1]) + GOOD[9001:],
    "36-no-trailer": GOOD[:-8],
    "36-half-a-trailer": GOOD[:-3],
    "36-truncated": GOOD[: len(GOOD) // 2],
    "36-header-alone": GOOD[:10],
    "36-half-a-header": GOOD[:5],
    "36-nothing": b"",
    "36-bad-block-type": GOOD[:10] + b"\x07" + GOOD[11:],
    "36-distance-too-far": member(0)[:10] + bytes.fromhex("4b040006") + bytes(8),
    "37-reserved-flag-5": member(0x20),
    "37-reserved-flag-6": member(0x40),
    "37-reserved-flag-7": member(0x80),
    "37-name-of-1-mib": member(8, b"n" * MIB + b"\0"),
    "37-comment-of-1-mib": member(16, b"c" * MIB + b"\0"),
    "37-name-without-end": member(8, b"n" * 200_000)[:150_000],
    "37-no-deflate": b"\x1f\x8b\x07" + GOOD[3:],
    "37-zlib": zlib.compress(NOISE),
    "37-raw-deflate": zlib.compress(NOISE, wbits=-15),
    "37-not-compressed": NOISE,
    "37-bzip2": b"BZh91AY&SY" + NOISE,
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in BAD.items()])
def test_a_body_that_is_not_one_sound_member_is_refused_whole(caller, kept, body):
    refused(caller.ask("POST", f"/drives/{kept}/write/100", body, GZIP), 400, "usage")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD, id="plain"),
        pytest.param(member(8, b"disk.img\0"), id="with a name"),
        pytest.param(member(16, b"a comment\0"), id="with a comment"),
        pytest.param(member(4, struct.pack("<H", 4) + b"ab\0\0"), id="with an extra field"),
        pytest.param(member(1), id="marked as text"),
        pytest.param(gzip.compress(NOISE, 0), id="stored"),
    ],
)
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_a_sound_member_is_inflated_and_offsets_count_what_it_holds(caller, body, coding):
    drive = caller.create()

    answer = caller.ask("POST", f"/drives/{drive}/write/1000", body, f"Content-Encoding: {coding}")

    assert answer.status == 204
    assert caller.read(drive, 1000, len(NOISE)) == NOISE
    record = caller.info(drive)
    assert (record["write:bytes"], record["write:requests"]) == (str(len(NOISE)), "1")


def test_only_one_layer_is_taken_off_33(caller):
    drive = caller.create()

    assert caller.ask("POST", f"/drives/{drive}/write", gzip.compress(GOOD), GZIP).status == 204

    assert caller.read(drive, 0, len(GOOD)) == GOOD


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["Content-Encoding: gzip, gzip"], id="38-twice-in-one"),
        pytest.param(["Content-Encoding: gzip", "Content-Encoding: gzip"], id="38-twice"),
        pytest.param(["Content-Encoding: identity", GZIP], id="38-identity-and-gzip"),
        pytest.param(["Content-Encoding: br"], id="38-br"),
        pytest.param(["Content-Encoding: deflate"], id="38-deflate"),
        pytest.param(["Content-Encoding: zstd"], id="38-zstd"),
        pytest.param(["Content-Encoding: gzip;q=1"], id="38-parameter"),
        pytest.param(["Content-Encoding: \xfcber"], id="38-umlaut"),
    ],
)
def test_other_codings_are_refused(caller, kept, headers):
    refused(caller.ask("POST", f"/drives/{kept}/write", GOOD, *headers), 400, "usage")


@pytest.mark.parametrize("headers", [[], ["Content-Encoding: identity"], ["Content-Encoding:"]])
def test_without_a_coding_gzip_data_is_stored_as_it_is_39(caller, headers):
    drive = caller.create()

    assert caller.ask("POST", f"/drives/{drive}/write", GOOD, *headers).status == 204

    assert caller.read(drive, 0, len(GOOD)) == GOOD


def test_output_that_ends_at_the_drives_end_is_taken_40(caller):
    drive = caller.create("size 20000")

    assert caller.ask("POST", f"/drives/{drive}/write", GOOD, GZIP).status == 204

    assert caller.read(drive, 0, 20000) == NOISE


@pytest.mark.parametrize("over", [1, 4096, 65536], ids=lambda over: f"40-{over}")
def test_output_past_the_drives_end_is_507_and_nothing_is_written(caller, kept, over):
    body = gzip.compress(b"x" * 20000)
    offset = min(len(CONTENT), len(CONTENT) - 20000 + over)

    answer = caller.ask("POST", f"/drives/{kept}/write/{offset}", body, GZIP)

    assert "nothing was written" in refused(answer, 507, "full")


def test_four_mebibytes_of_output_are_checked_whole_before_a_byte_is_stored(caller):
    drive = caller.create("size 5M")
    body = gzip.compress(b"x" * (4 * MIB), 1)
    damaged = body[:-1] + bytes([body[-1] ^ 1])

    refused(caller.ask("POST", f"/drives/{drive}/write", damaged, GZIP), 400, "usage")

    assert caller.read(drive, 0, 4 * MIB) == bytes(4 * MIB)
    assert caller.ask("POST", f"/drives/{drive}/write/1M", body, GZIP).status == 204


@pytest.mark.parametrize("damage", ["crc", "cut", "end"])
def test_longer_output_is_applied_in_pieces_and_an_error_says_how_much(caller, damage):
    drive = caller.create("size 10M")
    body = gzip.compress(b"x" * (9 * MIB + 5), 1)
    offset, status, word = 0, 400, "usage"
    match damage:
        case "crc":
            body = body[:-8] + bytes([body[-8] ^ 1]) + body[-7:]
        case "cut":
            body = body[:-3]
        case "end":
            offset, status, word = MIB, 507, "full"

    answer = caller.ask("POST", f"/drives/{drive}/write/{offset}", body, GZIP)

    sentence = refused(answer, status, word)
    (in_place,) = map(int, re.findall("([0-9]+) bytes (?:from offset 0 )?are in place", sentence))
    end = offset + in_place
    assert in_place in {4 * MIB, 8 * MIB}
    assert caller.read(drive, end - 2, 4) == b"xx\0\0"
    assert caller.info(drive)["write:requests"] == "0"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """One gibibyte of zeros as one gzip member of 1 MiB."""
    packer = isal_zlib.compressobj(1, wbits=31)
    piece = bytes(64 * MIB)
    return b"".join(packer.compress(piece) for _ in range(16)) + packer.flush()


@pytest.mark.parametrize(
    ("size", "offset"),
    [
        pytest.param(64 * KIB, 0, id="32-small-drive"),
        pytest.param(5 * MIB, 0, id="32-a-piece-and-a-bit"),
        pytest.param(GIB, 1, id="32-one-byte-too-many"),
    ],
)
def test_a_bomb_stops_at_the_drives_end_in_bounded_memory(caller, bomb, size, offset):
    drive = caller.create(f"size {size}")
    before = memory_before(caller.server)

    answer = caller.ask("POST", f"/drives/{drive}/write/{offset}", bomb, GZIP)

    refused(answer, 507, "full")
    assert peaks_grown(caller.server, before) < BOMB_MEMORY


def test_what_fits_is_no_bomb_and_takes_no_room(caller, bomb):
    drive = caller.create(f"size {GIB}")
    before = memory_before(caller.server)

    assert caller.ask("POST", f"/drives/{drive}/write", bomb, GZIP).status == 204

    assert caller.info(drive)["write:bytes"] == str(GIB)
    assert peaks_grown(caller.server, before) < BOMB_MEMORY
    assert allocated(caller, drive) < MIB


def test_inflated_bodies_at_once_need_a_bounded_amount_each(caller):
    """Eight of one user, each four mebibytes of noise, at the same time."""
    drive = caller.create("size 32M")
    body = gzip.compress(os.urandom(4 * MIB), 1)
    before = memory_before(caller.server)

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda at: caller.ask("POST", f"/drives/{drive}/write/{at * 4}M", body, GZIP), range(8)
        )

    assert [answer.status for answer in answers] == [204] * 8
    assert peaks_grown(caller.server, before) < 8 * 14 * MIB


def allocated(caller: Caller, drive: str) -> int:
    """Return the room that a drive's volume takes."""
    volume = caller.server.data / "stores/default" / f"{drive}.volume"
    return volume.stat().st_blocks * 512

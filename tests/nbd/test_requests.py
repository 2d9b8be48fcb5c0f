"""What each request does, with structured and with simple replies, on disk and in memory."""

import os
import random

import pytest

from drivebay.units import KIB, MIB
from live import Server
from nbd.claimed import Claimed, claimed
from nbd.client import (
    CACHE,
    DF,
    FAST,
    FLUSHING,
    FUA,
    NO_HOLE,
    ONE,
    TRIM,
    ZEROES,
    Client,
    Closed,
    Request,
    read,
    status,
    trim,
    write,
    zeroes,
)

EPERM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 22, 28, 75, 95
ODD_SIZE = 3 * MIB + 4095

BOTH = pytest.mark.parametrize("structured", [True, False])
CIPHERS = pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])


@pytest.fixture
def odd(anywhere: Server) -> Claimed:
    """A drive whose end is in the middle of a sector."""
    return claimed(anywhere, f"size {ODD_SIZE}")


def errors(client: Client, *requests: Request) -> list[int]:
    return [reply.error for reply in client.do(*requests)]


@BOTH
@CIPHERS
def test_single_bytes_at_the_edges_of_sectors_and_at_the_odd_end(anywhere, structured, cipher):
    odd = claimed(anywhere, f"size {ODD_SIZE}\nencryption:cipher {cipher}")
    content = bytearray(os.urandom(ODD_SIZE))
    with odd.open(structured=structured) as client:
        assert client.size == ODD_SIZE
        assert errors(client, write(0, bytes(content))) == [0]
        for at in (0, 1, 511, 4095, 4096, 8191, 3 * MIB - 1, 3 * MIB, ODD_SIZE - 2, ODD_SIZE - 1):
            content[at] ^= 0xFF
            assert errors(client, write(at, content[at : at + 1])) == [0]
            (found,) = client.do(read(at, 1))
            assert found.data == content[at : at + 1]
        lengths = [(ODD_SIZE - 4097, 4097), (4095, 2), (1, 8191), (0, ODD_SIZE)]
        for (at, length), found in zip(
            lengths, client.do(*(read(*pair) for pair in lengths)), strict=True
        ):
            assert found.data == content[at : at + length]

    assert odd.content() == content


@BOTH
def test_the_longest_read_and_write_and_one_byte_more(anywhere, structured):
    drive = claimed(anywhere, f"size {33 * MIB}")
    content = random.Random(1).randbytes(32 * MIB)
    with drive.open(structured=structured) as client:
        assert errors(client, write(5, content)) == [0]
        (found,) = client.do(read(5, 32 * MIB))
        assert found.data == content
        assert errors(client, write(0, bytes(32 * MIB + 1)), read(0, 32 * MIB + 1)) == [EINVAL] * 2
        # It goes on behind both.
        (found,) = client.do(read(32 * MIB + 4, 2))
        assert found.data == content[-1:] + b"\0"


@BOTH
def test_what_reaches_past_the_end_is_refused_and_does_nothing(odd, structured):
    with odd.open(structured=structured) as client:
        assert errors(
            client,
            *(make(ODD_SIZE - 1, 2) for make in (read, trim, zeroes)),
            write(ODD_SIZE - 1, b"xx"),
            *(make(ODD_SIZE, 1) for make in (read, trim, zeroes)),
            *(make(2**64 - 1, 1) for make in (read, trim, zeroes)),
            *(make(2**63, 2**32 - 1) for make in (trim, zeroes)),
            write(2**64 - 1, b"x"),
        ) == [
            *(EINVAL, EINVAL, ENOSPC, ENOSPC),
            *(EINVAL, EINVAL, ENOSPC) * 2,
            *(EINVAL, ENOSPC, ENOSPC),
        ]

    assert odd.content() == bytes(ODD_SIZE)


@BOTH
def test_what_is_not_supported_or_makes_no_sense_is_refused_politely(odd, structured):
    with odd.open(structured=structured) as client:
        assert (
            errors(
                client,
                Request(CACHE, 0, 4096),
                Request(8, 0, 4096),
                Request(999, 0, 4096),
                *(make(0, 0) for make in (read, trim, zeroes)),
                write(0, b""),
                Request(FLUSHING.command, 0, 1),
                read(0, 1, NO_HOLE),
                write(0, b"x", DF),
                read(0, 1, 1 << 15),
                status(0, 4096),
            )
            == [EINVAL] * 12
        )
        assert errors(client, read(0, 1)) == [0]


def test_a_read_that_may_not_be_fragmented_comes_in_one_piece(anywhere):
    drive = claimed(anywhere, f"size {8 * MIB}")
    content = os.urandom(8 * MIB)
    with drive.open() as client:
        client.do(write(0, content))
        assert client.flags & 1 << 7
        (whole,) = client.do(read(1, 4 * MIB, DF))
        assert whole.data == content[1 : 4 * MIB + 1]
        assert errors(client, read(0, 4 * MIB + 1, DF)) == [EOVERFLOW]
    with drive.open(structured=False) as client:
        assert not client.flags & 1 << 7


@BOTH
def test_an_export_for_reading_refuses_changes_and_nothing_else(anywhere, structured):
    drive = claimed(anywhere)
    with drive.open() as client:
        client.do(write(0, b"kept" * KIB))
    drive.claim("claim:access read")
    with drive.open(structured=structured) as client:
        assert client.flags & 2
        assert not client.flags & (1 << 5 | 1 << 6)
        assert (
            errors(
                client,
                write(0, b"x"),
                write(0, b"x", FUA),
                write(0, bytes(MIB)),
                trim(0, 4096),
                zeroes(0, 4096),
            )
            == [EPERM] * 5
        )
        flushed, found = client.do(FLUSHING, read(0, 4 * KIB))

    assert (flushed.error, found.data) == (0, b"kept" * KIB)
    assert drive.get(0, 4 * KIB) == b"kept" * KIB


@BOTH
@pytest.mark.parametrize("command", [TRIM, ZEROES])
@pytest.mark.parametrize("flags", [0, FUA])
def test_what_is_trimmed_or_zeroed_reads_as_zeros_and_its_neighbours_stay(
    odd, structured, command, flags
):
    content = bytearray(os.urandom(ODD_SIZE))
    ranges = [(1, 1), (4000, 5000), (100_000, 4096), (MIB, MIB + 1), (ODD_SIZE - 5, 5)]
    with odd.open(structured=structured) as client:
        client.do(write(0, bytes(content)))
        for at, length in ranges:
            assert errors(client, Request(command, at, length, flags)) == [0]
            content[at : at + length] = bytes(length)
            (found,) = client.do(read(0, ODD_SIZE))
            assert found.data == content
        assert errors(client, Request(command, 0, ODD_SIZE, flags)) == [0]

    assert odd.content() == bytes(ODD_SIZE)


def test_zeroing_is_fast_where_it_makes_holes(odd):
    with odd.open() as client:
        client.do(write(0, b"x" * 65536))
        assert errors(
            client,
            zeroes(0, 4096, FAST),
            zeroes(0, 4096, FAST | NO_HOLE),
            zeroes(4096, 4096, NO_HOLE),
            zeroes(0, ODD_SIZE, FUA | FAST),
        ) == [0, ENOTSUP, 0, 0]


def test_block_status_tells_the_extents_that_were_made(anywhere):
    drive = claimed(anywhere, f"size {64 * MIB}")
    with drive.open(allocation=True) as client:
        assert client.do(status(0, 64 * MIB))[0].extents == [(64 * MIB, 3)]
        for at in (0, 10 * MIB, 64 * MIB - 64 * KIB):
            client.do(write(at, os.urandom(64 * KIB)))
        client.do(write(20 * MIB, bytes(64 * KIB)))

        (found,) = client.do(status(0, 64 * MIB))
        (one,) = client.do(status(0, 64 * MIB, ONE))
        (inside,) = client.do(status(10 * MIB + 5, 100))

    data, hole = 64 * KIB, 3
    assert found.extents == [
        *((data, 0), (10 * MIB - data, hole), (data, 0)),
        *((54 * MIB - 2 * data, hole), (data, 0)),
    ]
    assert one.extents == [(data, 0)]
    assert [state for _, state in inside.extents] == [0]


def test_block_status_never_calls_data_a_hole(anywhere):
    """Random writes, zeros and trims; what is told to be a hole reads as zeros."""
    drive, dice = claimed(anywhere, f"size {ODD_SIZE}"), random.Random(7)
    with drive.open(allocation=True) as client:
        for _ in range(40):
            at = dice.randrange(ODD_SIZE)
            length = dice.randrange(1, min(200_000, ODD_SIZE - at) + 1)
            make = dice.choice([trim, zeroes, lambda at, n: write(at, dice.randbytes(n))])
            client.do(make(at, length))
            content, found = client.do(read(0, ODD_SIZE), status(0, ODD_SIZE))

            place = 0
            for length, state in found.extents:
                assert state in {0, 3}
                assert state == 0 or not any(content.data[place : place + length])
                place += length
            assert place == ODD_SIZE


def test_a_flush_and_a_write_through_are_answered_once_they_are_durable(server):
    """Only that they are answered, whatever else is in flight; `test_deaths` looks at the rest."""
    drive = claimed(server)
    with drive.open() as client:
        requests = [
            request
            for at in range(64)
            for request in (write(at * 8192, os.urandom(4096), FUA * (at % 2)), FLUSHING)
        ]
        assert set(errors(client, *requests)) == {0}

    assert (
        drive.content()[: 8192 * 63]
        == b"".join(request.data.ljust(8192, b"\0") for request in requests[::2])[: 8192 * 63]
    )


def test_a_client_that_says_goodbye_is_let_go(held):
    with held.open() as client:
        client.submit(write(0, b"last"), Request(2))
        assert client.reply()[1].error == 0
        assert client.is_closed()

    assert held.get(0, 4) == b"last"


def test_a_failed_read_does_not_end_in_other_bytes(make_server):
    """A simple reply that has begun cannot tell of a failure, so the connection ends in it."""
    server = make_server()
    drive = claimed(server, f"size {12 * MIB}")
    volume = server.data / "stores/default" / f"{drive.drive}.volume"
    with drive.open(structured=False) as client:
        client.do(write(0, os.urandom(12 * MIB)), FLUSHING)
        os.truncate(volume, 6 * MIB)
        (cookie,) = client.submit(read(0, 12 * MIB))

        with pytest.raises(Closed):
            client.replies([cookie])

        assert len(client.left()) <= 16 + 4 * MIB

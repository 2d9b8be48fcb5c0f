"""What requests are refused, at the edges of every range, and the replies byte by byte."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.nbd.protocol import (
    ALLOCATION_ID,
    BLOCK_MAX_BYTES,
    CHUNK,
    FLAG_DF,
    FLAG_FAST_ZERO,
    FLAG_FUA,
    FLAG_NO_HOLE,
    FLAG_REQ_ONE,
    PAYLOAD_MAX_BYTES,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    WHOLE_MAX_BYTES,
    Command,
    Errno,
    Export,
    Transmission,
    export_flags,
    is_fatal,
)
from drivebay.nbd.requests import EXTENTS_MAX

READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, RESIZE = range(9)
RANGED = [READ, WRITE, TRIM, WRITE_ZEROES, BLOCK_STATUS]
PAYLOADS = [READ, WRITE]
CHANGES = [WRITE, TRIM, WRITE_ZEROES]
ALL = [*RANGED, FLUSH]

EPERM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 22, 28, 75, 95

MIB = 1024 * 1024
SIZE = 5 * 2**30 + 512
COOKIE = 0x0123456789ABCDEF
COOKIE_BYTES = bytes.fromhex("0123456789abcdef")


def transmission(*, size=SIZE, read_only=False, structured=True, allocation=True):
    export = Export("disk", size, read_only)
    return Transmission(export, structured=structured, allocation=allocation)


def number(refusal):
    return refusal and refusal[0]


class TestNumbers:
    def test_a_request_has_28_bytes(self):
        sent = bytes.fromhex("25609513 0001 0006 0123456789abcdef 00000000deadbeef 00001000")

        assert REQUEST.unpack(sent) == (REQUEST_MAGIC, FLAG_FUA, 6, COOKIE, 0xDEADBEEF, 4096)

    def test_replies_have_16_and_20_bytes(self):
        assert (SIMPLE_REPLY.size, CHUNK.size) == (16, 20)

    def test_commands_and_errors_have_the_protocols_numbers(self):
        assert {command.name: command.value for command in Command} == {
            "READ": 0,
            "WRITE": 1,
            "DISC": 2,
            "FLUSH": 3,
            "TRIM": 4,
            "CACHE": 5,
            "WRITE_ZEROES": 6,
            "BLOCK_STATUS": 7,
            "RESIZE": 8,
        }
        assert {error.name: error.value for error in Errno} == {
            "EPERM": 1,
            "EIO": 5,
            "ENOMEM": 12,
            "EINVAL": 22,
            "ENOSPC": 28,
            "EOVERFLOW": 75,
            "ENOTSUP": 95,
            "ESHUTDOWN": 108,
        }

    def test_flags_have_the_protocols_bits(self):
        assert (FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST_ZERO) == (1, 2, 4, 8, 16)


class TestRanges:
    @pytest.mark.parametrize("command", RANGED)
    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, 1),
            (0, 4096),
            (SIZE - 1, 1),
            (SIZE - 513, 513),
            (1, MIB),
            (SIZE - 32 * MIB, 32 * MIB),
        ],
    )
    def test_all_within_the_export_is_accepted(self, command, offset, length):
        assert transmission().refusal(0, command, offset, length) is None

    @pytest.mark.parametrize("command", RANGED)
    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (SIZE, 1),
            (SIZE - 1, 2),
            (SIZE - 32 * MIB, 32 * MIB + 1),
            (SIZE + 1, 1),
            (2**63 - 1, 1),
            (2**63, 1),
            (2**64 - 1, 1),
            (2**64 - 4096, 4096),
            (2**64 - 1, 32 * MIB),
        ],
    )
    def test_a_byte_past_the_end_is_too_much(self, command, offset, length):
        wanted = ENOSPC if command in {WRITE, WRITE_ZEROES} else EINVAL
        if command in PAYLOADS and length > 32 * MIB:
            wanted = EINVAL

        assert number(transmission().refusal(0, command, offset, length)) == wanted

    @pytest.mark.parametrize("command", RANGED)
    @pytest.mark.parametrize("offset", [0, 4096, SIZE, 2**64 - 1])
    def test_no_bytes_are_no_request(self, command, offset):
        assert number(transmission().refusal(0, command, offset, 0)) == EINVAL

    @pytest.mark.parametrize("command", RANGED)
    def test_an_empty_export_has_no_range(self, command):
        wanted = ENOSPC if command in {WRITE, WRITE_ZEROES} else EINVAL

        assert number(transmission(size=0).refusal(0, command, 0, 1)) == wanted

    @pytest.mark.parametrize("command", PAYLOADS)
    @pytest.mark.parametrize("length", [32 * MIB + 1, 64 * MIB, 2**31, 2**32 - 1])
    def test_over_32_mib_of_data_is_invalid(self, command, length):
        assert BLOCK_MAX_BYTES == 32 * MIB
        assert transmission().refusal(0, command, 0, BLOCK_MAX_BYTES) is None
        assert number(transmission().refusal(0, command, 0, length)) == EINVAL

    @pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES, BLOCK_STATUS])
    def test_what_carries_no_data_may_be_of_any_length(self, command):
        assert transmission().refusal(0, command, 0, 2**32 - 1) is None

    @given(
        command=st.sampled_from(RANGED),
        offset=st.integers(0, 2**64 - 1) | st.integers(0, SIZE + 10),
        length=st.integers(0, 2**32 - 1) | st.integers(0, 33 * MIB),
    )
    def test_what_is_accepted_lies_within_the_export(self, command, offset, length):
        refusal = transmission().refusal(0, command, offset, length)

        longest = 32 * MIB if command in PAYLOADS else 2**32 - 1
        assert (refusal is None) == (0 < length <= longest and offset + length <= SIZE)


class TestCommands:
    @pytest.mark.parametrize("command", [CACHE, RESIZE, 9, 255, 0x7FFF, 0xFFFF])
    @pytest.mark.parametrize("flags", [0, FLAG_FUA, 0xFFFF])
    def test_what_was_not_offered_is_invalid(self, command, flags):
        assert number(transmission().refusal(flags, command, 0, 4096)) == EINVAL

    @pytest.mark.parametrize("read_only", [False, True])
    def test_leaving_is_never_refused(self, read_only):
        leaving = transmission(read_only=read_only)

        assert leaving.refusal(0, DISC, 0, 0) is None
        assert leaving.refusal(0xFFFF, DISC, 2**64 - 1, 2**32 - 1) is None

    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_flush_takes_no_range(self, read_only):
        flushing = transmission(read_only=read_only, size=0)

        assert flushing.refusal(0, FLUSH, 0, 0) is None
        assert flushing.refusal(FLAG_FUA, FLUSH, 0, 0) is None
        assert number(flushing.refusal(0, FLUSH, 0, 1)) == EINVAL
        assert number(flushing.refusal(0, FLUSH, 1, 0)) == EINVAL

    @pytest.mark.parametrize("command", ALL)
    @pytest.mark.parametrize(("structured", "allocation"), [(False, False), (True, False)])
    def test_block_status_needs_its_context(self, command, structured, allocation):
        asked = transmission(structured=structured, allocation=allocation)
        length = 0 if command == FLUSH else 512

        refusal = asked.refusal(0, command, 0, length)

        assert number(refusal) == (EINVAL if command == BLOCK_STATUS else None)

    @pytest.mark.parametrize("command", ALL)
    @pytest.mark.parametrize(("offset", "length"), [(0, 512), (SIZE, 512), (0, 0)])
    def test_a_read_only_export_permits_no_change(self, command, offset, length):
        locked = transmission(read_only=True)

        refusal = locked.refusal(FLAG_FUA, command, offset, length)

        if command in CHANGES:
            assert number(refusal) == EPERM
        else:
            assert number(refusal) != EPERM

    @pytest.mark.parametrize("command", [READ, BLOCK_STATUS])
    def test_a_read_only_export_is_read_like_any_other(self, command):
        assert transmission(read_only=True).refusal(0, command, 0, 512) is None


class TestFlags:
    @pytest.mark.parametrize("command", ALL)
    @pytest.mark.parametrize("bit", range(16))
    @pytest.mark.parametrize("structured", [False, True])
    def test_each_command_takes_its_own_and_fua(self, command, bit, structured):
        takes = {
            READ: FLAG_DF if structured else 0,
            WRITE_ZEROES: FLAG_NO_HOLE | FLAG_FAST_ZERO,
            BLOCK_STATUS: FLAG_REQ_ONE,
        }.get(command, 0) | FLAG_FUA
        length = 0 if command == FLUSH else 512
        asked = transmission(structured=structured, allocation=True)

        refusal = asked.refusal(1 << bit, command, 0, length)

        assert number(refusal) == (None if takes & 1 << bit else EINVAL)

    @pytest.mark.parametrize(
        ("flags", "refused"),
        [
            (FLAG_NO_HOLE | FLAG_FUA, None),
            (FLAG_FAST_ZERO | FLAG_FUA, None),
            (FLAG_FAST_ZERO | FLAG_NO_HOLE, ENOTSUP),
            (FLAG_FAST_ZERO | FLAG_NO_HOLE | FLAG_FUA, ENOTSUP),
            (FLAG_FAST_ZERO | FLAG_NO_HOLE | FLAG_DF, EINVAL),
        ],
    )
    def test_zeroing_is_fast_where_it_makes_holes(self, flags, refused):
        assert number(transmission().refusal(flags, WRITE_ZEROES, 0, 512)) == refused

    @pytest.mark.parametrize(
        ("length", "refused"),
        [
            (1, None),
            (65536, None),
            (WHOLE_MAX_BYTES, None),
            (WHOLE_MAX_BYTES + 1, EOVERFLOW),
            (32 * MIB, EOVERFLOW),
            (32 * MIB + 1, EINVAL),
        ],
    )
    def test_a_read_in_one_piece_is_as_long_as_a_piece(self, length, refused):
        assert number(transmission().refusal(FLAG_DF, READ, 0, length)) == refused
        assert number(transmission().refusal(FLAG_DF, READ, SIZE, 1)) == EINVAL

    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize("structured", [False, True])
    def test_what_is_offered_is_what_is_accepted(self, read_only, structured):
        export = Export("disk", SIZE, read_only)
        offered = export_flags(export, structured=structured)
        asked = Transmission(export, structured=structured, allocation=structured)

        accepted = {
            bit: asked.refusal(flags, command, 0, 0 if command == FLUSH else 512) is None
            for bit, flags, command in [
                (2, 0, FLUSH),
                (3, FLAG_FUA, READ),
                (5, 0, TRIM),
                (6, 0, WRITE_ZEROES),
                (7, FLAG_DF, READ),
                (9, 0, RESIZE),
                (10, 0, CACHE),
                (11, FLAG_FAST_ZERO, WRITE_ZEROES),
            ]
        }

        assert {bit: bool(offered & 1 << bit) for bit in accepted} == accepted
        assert bool(offered & 2) is read_only
        assert offered & 1 << 8
        assert not offered & 1 << 4


@given(
    flags=st.integers(0, 0xFFFF),
    command=st.integers(0, 0xFFFF) | st.integers(0, 10),
    offset=st.integers(0, 2**64 - 1),
    length=st.integers(0, 2**32 - 1),
    kind=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_whatever_is_asked_there_is_an_answer(flags, command, offset, length, kind):
    read_only, structured, allocation = kind
    asked = transmission(read_only=read_only, structured=structured, allocation=allocation)

    refusal = asked.refusal(flags, command, offset, length)

    if refusal is not None:
        assert refusal[0] in {EPERM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP}
        assert asked.failed(COOKIE, *refusal)


class TestFatal:
    @pytest.mark.parametrize("magic", [0, 0x12560953, 0x25609514, 0x67446698, 0xFFFF_FFFF])
    def test_another_magic_is_no_request(self, magic):
        assert is_fatal(magic, READ, 512)
        assert not is_fatal(REQUEST_MAGIC, READ, 512)

    @pytest.mark.parametrize(
        ("length", "ends"),
        [
            (0, False),
            (32 * MIB, False),
            (32 * MIB + 1, False),
            (PAYLOAD_MAX_BYTES, False),
            (PAYLOAD_MAX_BYTES + 1, True),
            (2**32 - 1, True),
        ],
    )
    def test_a_write_too_long_to_skip_ends_the_connection(self, length, ends):
        assert is_fatal(REQUEST_MAGIC, WRITE, length) is ends

    @pytest.mark.parametrize("command", [READ, *range(2, 10)])
    def test_what_carries_no_data_is_only_refused(self, command):
        assert not is_fatal(REQUEST_MAGIC, command, 2**32 - 1)


class TestSimpleReplies:
    @pytest.fixture
    def simple(self):
        return transmission(structured=False, allocation=False)

    def test_success(self, simple):
        assert simple.done(COOKIE) == bytes.fromhex("67446698 00000000") + COOKIE_BYTES

    @pytest.mark.parametrize("offset", [None, 512])
    def test_a_failure_is_its_number(self, simple, offset):
        assert (
            simple.failed(COOKIE, Errno.ENOSPC, "no room", offset=offset)
            == bytes.fromhex("67446698 0000001c") + COOKIE_BYTES
        )

    def test_data_stands_behind_a_success(self, simple):
        assert simple.data_header(COOKIE, 512, 4096, last=True) == simple.done(COOKIE)

    def test_there_are_no_pieces(self, simple):
        with pytest.raises(AssertionError):
            simple.data_header(COOKIE, 512, 4096, last=False)
        with pytest.raises(AssertionError):
            simple.hole(COOKIE, 512, 4096)
        with pytest.raises(AssertionError):
            simple.block_status(COOKIE, [(512, True)])


class TestChunks:
    @pytest.fixture
    def chunks(self):
        return transmission()

    def test_success(self, chunks):
        assert chunks.done(COOKIE) == bytes.fromhex(
            "668e33ef 0001 0000"
        ) + COOKIE_BYTES + bytes.fromhex("00000000")

    @pytest.mark.parametrize(("last", "flags"), [(True, "0001"), (False, "0000")])
    def test_data(self, chunks, last, flags):
        assert chunks.data_header(COOKIE, 512, 4096, last=last) == (
            bytes.fromhex(f"668e33ef {flags} 0001")
            + COOKIE_BYTES
            + bytes.fromhex("00001008 0000000000000200")
        )

    @pytest.mark.parametrize(("last", "flags"), [(True, "0001"), (False, "0000")])
    def test_a_hole(self, chunks, last, flags):
        assert chunks.hole(COOKIE, 512, 4096, last=last) == (
            bytes.fromhex(f"668e33ef {flags} 0002")
            + COOKIE_BYTES
            + bytes.fromhex("0000000c 0000000000000200 00001000")
        )

    def test_a_failure(self, chunks):
        assert chunks.failed(COOKIE, Errno.EIO, "disk: ö") == (
            bytes.fromhex("668e33ef 0001 8001")
            + COOKIE_BYTES
            + bytes.fromhex("0000000e 00000005 0008")
            + "disk: ö".encode()
        )

    def test_a_failure_without_a_message(self, chunks):
        assert chunks.failed(COOKIE, 108) == (
            bytes.fromhex("668e33ef 0001 8001")
            + COOKIE_BYTES
            + bytes.fromhex("00000006 0000006c 0000")
        )

    @pytest.mark.parametrize("offset", [0, 512, 2**64 - 1])
    def test_a_failure_at_an_offset(self, chunks, offset):
        assert chunks.failed(COOKIE, Errno.EIO, "bad", offset=offset) == (
            bytes.fromhex("668e33ef 0001 8002")
            + COOKIE_BYTES
            + bytes.fromhex("00000011 00000005 0003")
            + b"bad"
            + offset.to_bytes(8)
        )

    @given(message=st.text() | st.text().map(lambda text: text * 500))
    def test_a_message_is_a_string_of_the_protocol(self, message):
        """Lone halves of surrogate pairs and NULs are in no string, and none is too long."""
        reply = transmission().failed(COOKIE, Errno.EIO, message)

        (length,) = struct.unpack_from(">H", reply, 24)
        text = reply[26:].decode()
        assert length == len(reply) - 26 <= 4096
        assert "\0" not in text
        if length < 4090:
            assert text == message.replace("\0", "").encode("utf-8", "replace").decode()


def parsed(reply):
    """Take a reply to BLOCK_STATUS apart."""
    magic, flags, kind, cookie, length, context = struct.unpack_from(">IHHQII", reply)
    assert (magic, flags, kind, cookie) == (0x668E33EF, 1, 5, COOKIE)
    assert length == len(reply) - 20
    assert context == ALLOCATION_ID == 1
    pairs = list(struct.iter_unpack(">II", reply[24:]))
    assert pairs
    return pairs


extents_of = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=20).filter(
    lambda extents: any(size for size, _ in extents)
)


class TestBlockStatus:
    @pytest.fixture
    def status(self):
        return transmission().block_status

    def test_data_is_nothing_and_a_hole_is_a_hole_of_zeros(self, status):
        assert status(COOKIE, [(4096, True), (512, False)], length=8192) == (
            bytes.fromhex("668e33ef 0001 0005")
            + COOKIE_BYTES
            + bytes.fromhex("00000014 00000001 00001000 00000000 00000200 00000003")
        )

    def test_neighbours_of_one_kind_are_one(self, status):
        extents = [(1, True), (2, True), (0, False), (3, True), (4, False), (0, True), (5, False)]

        assert parsed(status(COOKIE, extents)) == [(6, 0), (9, 3)]

    def test_no_more_is_told_than_was_asked_for(self, status):
        extents = [(10, True), (10, False), (10, True)]

        assert parsed(status(COOKIE, extents, length=20)) == [(10, 0), (10, 3)]
        assert parsed(status(COOKIE, extents, length=19)) == [(10, 0), (9, 3)]
        assert parsed(status(COOKIE, extents, length=1)) == [(1, 0)]

    def test_one_extent_is_told_to_who_wants_one(self, status):
        extents = [(10, False), (5, False), (10, True)]

        assert parsed(status(COOKIE, extents, length=100, only_one=True)) == [(15, 3)]
        assert parsed(status(COOKIE, extents, length=12, only_one=True)) == [(12, 3)]

    def test_what_is_longer_than_any_request_is_cut(self, status):
        assert parsed(status(COOKIE, [(2**40, False)])) == [(2**32 - 1, 3)]

    def test_there_is_a_limit_and_extents_are_taken_as_needed(self, status):
        taken = itertools.count()
        endless = ((1, next(taken) % 2 == 0) for _ in itertools.count())

        pairs = parsed(status(COOKIE, endless))

        assert pairs == [(1, 0), (1, 3)] * (EXTENTS_MAX // 2)
        assert next(taken) == EXTENTS_MAX + 1

    def test_what_lies_behind_the_request_is_not_looked_at(self, status):
        extents = iter([(10, True), (10, False), (10, True)])

        assert parsed(status(COOKIE, extents, length=20)) == [(10, 0), (10, 3)]
        assert next(extents) == (10, True)

    def test_some_byte_must_be_described(self, status):
        with pytest.raises(AssertionError):
            status(COOKIE, [])

    @given(extents=extents_of, length=st.integers(1, 300), only_one=st.booleans())
    def test_the_reply_says_what_the_extents_say(self, extents, length, only_one):
        reply = transmission().block_status(COOKIE, extents, length=length, only_one=only_one)

        told = [state for size, state in parsed(reply) for _ in range(size)]
        known = [0 if is_data else 3 for size, is_data in extents for _ in range(size)][:length]
        assert told == (known[: len(told)] if only_one else known)
        assert all(size for size, _ in parsed(reply))
        assert len(parsed(reply)) == 1 or not only_one

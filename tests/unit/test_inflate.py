"""Gzip bodies: one sound member, however it is cut, in bounded memory."""

import gzip
import itertools
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.errors import InvalidInput
from drivebay.model import TRANSFER_MAX
from drivebay.service.inflate import Inflater
from drivebay.storage.member import unpack_whole
from unit.gzips import FCOMMENT, FEXTRA, FHCRC, FNAME, FTEXT, member

TEXT = b"some lines of text, some lines of text; " * 50
HEADER_MAX = 60_000
"""What a header may certainly be long."""

MIB = 2**20

contents = st.binary(max_size=200) | st.lists(
    st.tuples(st.sampled_from([b"\0", b"ab"]), st.integers(1, 50_000)), max_size=4
).map(lambda parts: b"".join(unit * count for unit, count in parts))
headers = st.fixed_dictionaries(
    {},
    optional={
        "name": st.binary(max_size=20).map(lambda name: name.replace(b"\0", b"")),
        "extra": st.binary(max_size=300),
        "comment": st.just(b"c" * 1000),
        "flags": st.sampled_from([0, FTEXT, FHCRC, FTEXT | FHCRC]),
    },
)


def inflated(body: bytes, cut: int = 2**22) -> bytes:
    """Inflate *body*, fed in pieces of *cut* bytes; that its length is known changes nothing."""
    outcomes = [outcome(body, cut, Inflater()), outcome(body, cut, Inflater(len(body)))]
    assert outcomes[0] == outcomes[1]
    if isinstance(outcomes[0], str):
        raise InvalidInput(reason=outcomes[0])
    return outcomes[0]


def outcome(body: bytes, cut: int, inflater: Inflater) -> bytes | str:
    """Return what *body* inflates to, or why it is refused."""
    try:
        return fed(body, cut, inflater)
    except InvalidInput as refusal:
        return str(refusal)


def fed(body: bytes, cut: int, inflater: Inflater) -> bytes:
    whole = b""
    for at in range(0, len(body), cut):
        for piece in inflater.pieces(memoryview(body)[at : at + cut]):
            assert len(piece) == TRANSFER_MAX
            whole += piece
    rest = inflater.rest()
    assert len(rest) <= TRANSFER_MAX
    return whole + rest


class TestSoundBodies:
    @given(contents, st.integers(0, 9), headers)
    def test_what_was_packed_is_inflated(self, data, level, head):
        assert inflated(member(data, level=level, **head)) == data

    @given(contents, st.integers(0, 9), headers, st.lists(st.integers(0, 2**18), max_size=8))
    def test_any_cut_of_the_body_gives_the_same_bytes(self, data, level, head, places):
        body = memoryview(member(data, level=level, **head))
        cuts = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
        inflater = Inflater()

        pieces = [
            bytes(piece)
            for start, end in itertools.pairwise(cuts)
            for piece in inflater.pieces(body[start:end])
        ]

        assert b"".join(pieces) + inflater.rest() == data

    @pytest.mark.parametrize("cut", [1, 2, 3, 7])
    def test_a_body_that_comes_byte_by_byte_gives_the_same_bytes(self, cut):
        body = member(TEXT, name=b"disk.img", extra=b"x" * 30, flags=FHCRC)

        assert inflated(body, cut) == TEXT

    @pytest.mark.parametrize(
        "size",
        [0, 1, TRANSFER_MAX - 1, TRANSFER_MAX, TRANSFER_MAX + 1, 2 * TRANSFER_MAX, 9 * MIB],
    )
    @pytest.mark.parametrize("unit", [b"\0", None])
    def test_output_comes_in_pieces_of_four_mebibytes_and_the_last_is_kept_back(self, size, unit):
        data = random.Random(size).randbytes(size) if unit is None else unit * size
        body = gzip.compress(data, 1)
        inflater = Inflater()

        pieces = list(inflater.pieces(memoryview(body)))

        assert len(pieces) == max(0, size - 1) // TRANSFER_MAX
        assert b"".join(pieces) + inflater.rest() == data

    def test_pieces_stay_as_they_were_given(self):
        """They are written while the next one is inflated."""
        data = random.Random(1).randbytes(9 * MIB)
        inflater = Inflater()

        pieces = list(inflater.pieces(memoryview(gzip.compress(data, 1))))

        assert pieces[0] == data[:TRANSFER_MAX]
        assert pieces[1] == data[TRANSFER_MAX : 2 * TRANSFER_MAX]

    def test_gzip_of_gzip_is_inflated_once(self):
        inner = member(TEXT)

        assert inflated(member(inner)) == inner


class TestRefusals:
    @pytest.mark.parametrize("cut", [1, 3, 1000])
    @pytest.mark.parametrize(
        "body",
        [
            b"plain",
            b"\0" * 100,
            b"\x1f\x8a\x08" + b"\0" * 20,
            b"\x1f\x8b\x07" + b"\0" * 20,
            b"\x1f\x8b\x00" + b"\0" * 20,
            b" " + member(TEXT),
            zlib.compress(TEXT),
            b"BZh9" + TEXT,
        ],
        ids=lambda body: body[:6].hex(),
    )
    def test_what_is_no_gzip_is_refused(self, body, cut):
        with pytest.raises(InvalidInput, match="is not a gzip stream"):
            inflated(body, cut)

    @pytest.mark.parametrize("cut", [1, 4, 1000])
    @pytest.mark.parametrize("flag", [0x20, 0x40, 0x80, 0xE0])
    def test_reserved_flags_are_refused(self, flag, cut):
        with pytest.raises(InvalidInput, match="reserved flags"):
            inflated(member(TEXT, flags=flag), cut)

    @pytest.mark.parametrize("cut", [1, 50, 10_000])
    @pytest.mark.parametrize(
        "behind",
        [
            b"\0",
            b"\n",
            b"junk",
            b"\x1f",
            b"\1\0\0\0",
            b"\xff" * 4,
            member(b""),
            member(TEXT) * 100,
            member(TEXT)[-8:],
            b"junk" + member(TEXT)[-8:],
        ],
    )
    def test_bytes_behind_the_member_are_refused(self, behind, cut):
        with pytest.raises(InvalidInput, match="bytes follow the gzip stream"):
            inflated(member(TEXT) + behind, cut)

    @pytest.mark.parametrize("head", [{}, {"name": b"disk.img", "flags": FHCRC}], ids=str)
    def test_a_body_that_is_cut_anywhere_is_refused(self, head):
        body = member(TEXT, **head)

        for end in range(len(body)):
            with pytest.raises(InvalidInput, match="ends before its end"):
                inflated(body[:end])

    @pytest.mark.parametrize("level", [0, 1, 9])
    def test_a_changed_byte_is_refused_or_changes_nothing(self, level):
        """Time, system and the text flag may change; nothing else may."""
        body = member(TEXT[:300], level=level)
        unharmed = set()

        for at in range(len(body)):
            for flip in (0x01, 0x55, 0xFF):
                changed = bytearray(body)
                changed[at] ^= flip
                try:
                    assert inflated(bytes(changed)) == TEXT[:300]
                    unharmed.add(at)
                except InvalidInput:
                    pass

        assert unharmed <= set(range(3, 10))

    @pytest.mark.parametrize("at", [-8, -5, -4, -1])
    def test_a_wrong_checksum_or_length_is_refused(self, at):
        body = bytearray(member(TEXT))
        body[at] ^= 1

        with pytest.raises(InvalidInput, match="not a sound gzip stream"):
            inflated(bytes(body))

    def test_a_wrong_header_checksum_is_refused(self):
        body = bytearray(member(TEXT, flags=FHCRC))
        body[10] ^= 1

        with pytest.raises(InvalidInput):
            inflated(bytes(body))

    @given(st.binary(max_size=300), st.integers(1, 50))
    def test_any_bytes_are_inflated_or_refused(self, body, cut):
        for stream in (body, b"\x1f\x8b\x08\0" + body, member(TEXT)[:15] + body):
            try:
                inflated(stream, cut)
            except InvalidInput as refusal:
                assert str(refusal)  # noqa: PT017 - either way is right


class TestHeaders:
    @pytest.mark.parametrize("part", ["name", "extra", "comment"])
    @pytest.mark.parametrize("length", [0, 1, 1000, HEADER_MAX])
    def test_a_long_part_of_the_header_is_passed_over(self, part, length):
        assert inflated(member(TEXT, **{part: b"x" * length}), 1000) == TEXT

    @pytest.mark.parametrize("cut", [1000, 2**16, 2**22])
    @pytest.mark.parametrize("part", ["name", "comment"])
    def test_a_header_without_end_is_refused_however_the_body_is_cut(self, part, cut):
        body = member(TEXT, **{part: b"x" * MIB})

        with pytest.raises(InvalidInput, match="no data in the gzip stream's first 65536 bytes"):
            inflated(body, cut)

    @pytest.mark.parametrize("cut", [1000, 2**16, 2**22])
    def test_blocks_without_data_are_refused_in_the_end(self, cut):
        empty_block = b"\x00\x00\x00\xff\xff"
        head = member(b"")[:10]

        with pytest.raises(InvalidInput, match="no data in"):
            inflated(head + empty_block * 100_000, cut)

    @pytest.mark.parametrize("length", [65_534, 65_535, 65_536, 65_537, 65_600])
    def test_what_is_refused_does_not_depend_on_the_cut(self, length):
        body = member(TEXT, name=b"n" * (length - len(member(b"", name=b"")) + 8))
        outcomes = set()

        for cut in (1, 2**15 + 1, 2**16 - 1, 2**16, 2**16 + 1, 2**22):
            try:
                outcomes.add(inflated(body, cut))
            except InvalidInput as refusal:
                outcomes.add(str(refusal))

        assert len(outcomes) == 1

    def test_every_flag_of_the_standard_is_known(self):
        body = member(TEXT, name=b"n", comment=b"c", extra=b"e", flags=FTEXT | FHCRC)

        assert body[3] == FTEXT | FHCRC | FEXTRA | FNAME | FCOMMENT
        assert inflated(body) == TEXT


class TestBodiesOfKnownLength:
    @pytest.mark.parametrize("size", [1, 1000, 100_000, TRANSFER_MAX - 1, TRANSFER_MAX])
    @pytest.mark.parametrize("make", [bytes, bytearray])
    def test_a_sound_member_is_unpacked_at_once(self, size, make):
        data = random.Random(size).randbytes(size)

        assert unpack_whole(memoryview(make(member(data))), TRANSFER_MAX) == data

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\x1f\x8b\x08",
            member(b""),
            member(TEXT, flags=FHCRC),
            member(TEXT, flags=0x20),
            member(TEXT)[:-1],
            member(TEXT) + member(TEXT),
            member(TEXT) + member(TEXT)[-8:],
            member(bytes(TRANSFER_MAX + 1)),
        ],
        ids=lambda body: f"{len(body)} bytes",
    )
    @pytest.mark.parametrize("make", [bytes, bytearray])
    def test_what_is_not_certainly_one_sound_member_is_left_to_the_slow_way(self, body, make):
        assert unpack_whole(memoryview(make(body)), TRANSFER_MAX) is None

    def test_a_footer_that_occurs_before_the_end_is_no_reason_to_refuse(self):
        body = member(TEXT, extra=member(TEXT)[-8:])

        assert unpack_whole(memoryview(body), TRANSFER_MAX) is None
        assert inflated(body) == TEXT

    def test_bytes_behind_a_body_that_was_inflated_at_once_are_refused(self):
        body = member(TEXT)
        inflater = Inflater(len(body))
        assert list(inflater.pieces(memoryview(body))) == []

        with pytest.raises(InvalidInput, match="bytes follow the gzip stream"):
            list(inflater.pieces(memoryview(b"x")))


def test_a_bomb_takes_the_memory_of_a_piece():
    """128 MiB of zeros in some 128 KiB."""
    bomb = gzip.compress(bytes(128 * MIB), 1)
    inflater = Inflater()
    count = 0
    tracemalloc.start()
    try:
        for _ in inflater.pieces(memoryview(bomb)):
            count += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 31
    assert len(inflater.rest()) == TRANSFER_MAX
    assert peak < 6 * TRANSFER_MAX

"""The handshake without TLS: every option, and every reply to it byte by byte."""

import struct

import pytest

from drivebay.nbd.handshake import OPTIONS_MAX
from drivebay.nbd.protocol import Ask, Begin, End, Handshake, Reply, Tls
from unit.nbd_wire import (
    ABORT,
    ACK,
    CONTEXT,
    DISK,
    EXPORT_NAME,
    EXTENDED,
    FIXED,
    FIXED_WITHOUT_ZEROES,
    FOREIGN,
    GO,
    INFO,
    INFORMATION,
    INVALID,
    LIST,
    LIST_CONTEXTS,
    LOCKED,
    PEEK,
    SERVER,
    SET_CONTEXTS,
    STARTTLS,
    STRUCTURED,
    TOO_BIG,
    UNKNOWN,
    UNSUP,
    after,
    ask,
    begin,
    contexts,
    feed,
    header,
    info,
    kinds,
    option,
    string,
)

SIZE = (123_456_789_012).to_bytes(8)

# HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, FAST_ZERO; READ_ONLY has no changes.
WRITABLE = 0b1001_0110_1101
READ_ONLY = 0b0001_0000_1111
DF = 1 << 7


def export_info(size: bytes, flags: int) -> bytes:
    return b"\0\0" + size + flags.to_bytes(2)


BLOCK_SIZES = bytes.fromhex("0003 00000001 00001000 02000000")


def is_end(events: list[object]) -> bool:
    return len(events) == 1 and isinstance(events[0], End)


class TestGreeting:
    def test_the_server_says_fixed_newstyle_without_zeroes(self):
        assert Handshake(Tls.ABSENT).greeting() == b"NBDMAGICIHAVEOPT\x00\x03"

    @pytest.mark.parametrize("flags", [0, 1, 2, 3])
    def test_flags_that_were_offered_are_taken(self, flags):
        assert feed(Handshake(Tls.ABSENT), flags.to_bytes(4)) == []

    @pytest.mark.parametrize("bit", range(2, 32))
    def test_any_other_flag_ends_the_connection(self, bit):
        assert is_end(feed(Handshake(Tls.ABSENT), (1 << bit | 3).to_bytes(4)))

    @pytest.mark.parametrize("number", [ABORT, LIST, INFO, GO, STRUCTURED, EXTENDED, 77])
    def test_a_client_of_the_plain_newstyle_can_only_name_an_export(self, number):
        assert is_end(feed(after(flags=b"\0\0\0\0"), option(number)))

    def test_a_client_of_the_plain_newstyle_can_name_an_export(self):
        events = feed(after(flags=b"\0\0\0\0"), option(EXPORT_NAME, b"disk"))

        assert begin(events).export is DISK


class TestExportName:
    def test_the_reply_is_size_flags_and_zeroes(self):
        events = feed(after(flags=FIXED), option(EXPORT_NAME, b"disk"))

        assert events == [
            Ask("disk"),
            Reply(SIZE + WRITABLE.to_bytes(2) + bytes(124)),
            Begin(DISK, structured=False, allocation=False, rest=b""),
        ]

    def test_a_client_without_zeroes_gets_none(self):
        events = feed(after(flags=FIXED_WITHOUT_ZEROES), option(EXPORT_NAME, b"disk"))

        assert events[1] == Reply(SIZE + WRITABLE.to_bytes(2))

    def test_what_was_negotiated_before_holds(self):
        handshake = after(
            option(STRUCTURED), option(SET_CONTEXTS, contexts("disk", "base:allocation"))
        )

        events = feed(handshake, option(EXPORT_NAME, b"disk") + b"rest")

        assert events[1] == Reply(SIZE + (WRITABLE | DF).to_bytes(2))
        assert events[2] == Begin(DISK, structured=True, allocation=True, rest=b"rest")

    @pytest.mark.parametrize("name", [b"absent", b"", b"\xff", b"di\0sk", b"x" * 4096, b"x" * 4097])
    def test_a_name_that_opens_nothing_ends_the_connection(self, name):
        events = feed(after(), option(EXPORT_NAME, name))

        assert isinstance(events[-1], End)
        assert not [event for event in events if isinstance(event, Reply)]

    def test_a_name_that_is_too_long_ends_the_connection_at_its_header(self):
        assert is_end(feed(after(), header(EXPORT_NAME, 4097)))

    def test_no_name_is_asked_for_like_any_other(self):
        assert after().receive(option(EXPORT_NAME)) == [Ask("")]


class TestAbort:
    @pytest.mark.parametrize("data", [b"", b"bye", bytes(8192), bytes(65536)])
    def test_it_is_acknowledged_whatever_it_carries(self, data):
        events = feed(after(), option(ABORT, data))

        assert events[0] == Reply(bytes.fromhex("0003e889045565a9 00000002 00000001 00000000"))
        assert isinstance(events[1], End)
        assert len(events) == 2


class TestList:
    def test_nothing_is_listed_to_who_knows_no_name(self):
        events = feed(after(), option(LIST))

        assert events == [Reply(bytes.fromhex("0003e889045565a9 00000003 00000001 00000000"))]

    def test_nothing_is_listed_after_a_name_that_opens_nothing(self):
        assert kinds(after(option(INFO, info("absent"))), LIST) == [ACK]

    def test_nothing_is_listed_after_a_question_about_contexts(self):
        handshake = after(option(STRUCTURED), option(LIST_CONTEXTS, contexts("disk")))

        assert kinds(handshake, LIST) == [ACK]

    def test_an_export_that_was_described_is_listed(self):
        handshake = after(option(INFO, info("disk")), option(INFO, info("absent")))

        assert ask(handshake, LIST) == [(SERVER, string("disk") + b"the drive"), (ACK, b"")]

    def test_the_last_export_that_was_described_is_listed(self):
        handshake = after(option(INFO, info("disk")), option(INFO, info(FOREIGN.name)))

        assert ask(handshake, LIST) == [(SERVER, string("größe-鍵")), (ACK, b"")]


@pytest.mark.parametrize("number", [LIST, STRUCTURED])
@pytest.mark.parametrize("data", [b"\0", bytes(8192)])
def test_data_where_there_is_none_is_invalid(number, data):
    handshake = after()

    assert kinds(handshake, number, data) == [INVALID]
    assert kinds(handshake, number) == [ACK]


class TestInfo:
    def test_size_flags_and_block_sizes_are_always_told(self):
        events = feed(after(), option(INFO, info("disk")))

        assert events == [
            Ask("disk"),
            Reply(
                bytes.fromhex("0003e889045565a9 00000006 00000003 0000000c 0000")
                + SIZE
                + bytes.fromhex("096d")
                + bytes.fromhex("0003e889045565a9 00000006 00000003 0000000e")
                + BLOCK_SIZES
                + bytes.fromhex("0003e889045565a9 00000006 00000001 00000000")
            ),
        ]

    def test_name_and_description_are_told_to_who_asks(self):
        assert ask(after(), INFO, info("disk", 3, 2, 1, 0, 9, 0xFFFF)) == [
            (INFORMATION, export_info(SIZE, WRITABLE)),
            (INFORMATION, BLOCK_SIZES),
            (INFORMATION, b"\0\1disk"),
            (INFORMATION, b"\0\2the drive"),
            (ACK, b""),
        ]

    def test_a_description_that_is_not_there_is_not_told(self):
        replies = ask(after(), INFO, info("locked", 1, 2))

        assert replies[2:] == [(INFORMATION, b"\0\1locked"), (ACK, b"")]

    def test_a_read_only_export_says_so_and_takes_no_changes(self):
        replies = ask(after(), INFO, info("locked"))

        assert replies[0] == (INFORMATION, export_info((4097).to_bytes(8), READ_ONLY))

    @pytest.mark.parametrize(("name", "flags"), [("disk", WRITABLE), ("locked", READ_ONLY)])
    def test_unfragmented_reads_are_offered_with_structured_replies(self, name, flags):
        replies = ask(after(option(STRUCTURED)), INFO, info(name))

        assert replies[0][1][-2:] == (flags | DF).to_bytes(2)

    def test_the_handshake_goes_on_after_it(self):
        handshake = after(option(INFO, info("disk")))

        assert kinds(handshake, INFO, info("locked"))[-1] == ACK

    @pytest.mark.parametrize("number", [INFO, GO])
    def test_an_unknown_name_is_told_and_the_handshake_goes_on(self, number):
        handshake = after()

        assert ask(handshake, number, info("absent")) == [(UNKNOWN, b"there is no such export")]
        assert kinds(handshake, number, info("disk"))[-1] == ACK


class TestGo:
    def test_it_tells_what_info_tells_and_begins(self):
        events = feed(after(), option(GO, info("disk", 1)) + b"first request")

        assert events == [
            Ask("disk"),
            Reply(
                feed(after(), option(INFO, info("disk", 1)))[1].data.replace(
                    b"\x04\x55\x65\xa9\0\0\0\6", b"\x04\x55\x65\xa9\0\0\0\7"
                )
            ),
            Begin(DISK, structured=False, allocation=False, rest=b"first request"),
        ]

    def test_no_zeroes_follow_whatever_the_client_takes(self):
        events = feed(after(flags=FIXED), option(GO, info("disk")))

        assert events[1].data.endswith(bytes.fromhex("0003e889045565a9 00000007 00000001 00000000"))

    def test_nothing_is_read_after_it(self):
        handshake = after(option(GO, info("disk")))

        assert feed(handshake, option(ABORT)) == []

    def test_what_came_while_the_question_was_open_is_the_rest(self):
        handshake = after()
        handshake.receive(option(GO, info("disk")) + b"one")
        handshake.receive(b" two")

        assert begin(handshake.answer(DISK)).rest == b"one two"


INFO_DATA = info("disk", 3)


@pytest.mark.parametrize("number", [INFO, GO])
@pytest.mark.parametrize(
    "data",
    [
        *(INFO_DATA[:end] for end in range(len(INFO_DATA))),
        INFO_DATA + b"\0",
        INFO_DATA + b"\0\1",
        string("disk") + b"\xff\xff" + bytes(100),
        struct.pack(">I", 0xFFFF_FFFF) + bytes(8000),
        info(b"\xff\xfe"),
        info(b"\xed\xa0\x80"),
        info("di\0sk"),
        struct.pack(">I", 5000) + b"x" * 4999,
    ],
)
def test_what_info_and_go_cannot_carry_is_invalid(number, data):
    handshake = after()

    assert kinds(handshake, number, data) == [INVALID]
    assert kinds(handshake, INFO, info("disk"))[-1] == ACK


CONTEXT_DATA = contexts("disk", "base:allocation", "x:")


@pytest.mark.parametrize("number", [LIST_CONTEXTS, SET_CONTEXTS])
@pytest.mark.parametrize(
    "data",
    [
        *(CONTEXT_DATA[:end] for end in range(len(CONTEXT_DATA))),
        CONTEXT_DATA + b"\0",
        string("disk") + b"\xff\xff\xff\xff",
        string("disk") + struct.pack(">II", 1, 0xFFFF_FFFF),
        contexts("disk", b"base:\xff"),
        contexts("disk", "base:allocation\0"),
        contexts(b"\xc0\x80", "base:allocation"),
    ],
)
def test_what_the_options_about_contexts_cannot_carry_is_invalid(number, data):
    handshake = after(option(STRUCTURED))

    assert kinds(handshake, number, data) == [INVALID]
    assert kinds(handshake, number, CONTEXT_DATA) == [CONTEXT, ACK]


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (INFO, info("x" * 4097)),
        (GO, info("x" * 4097)),
        (SET_CONTEXTS, contexts("x" * 4097)),
        (LIST_CONTEXTS, contexts("disk", "x" * 4097)),
    ],
)
def test_a_string_over_4096_bytes_is_too_big(number, data):
    assert kinds(after(option(STRUCTURED)), number, data) == [TOO_BIG]


@pytest.mark.parametrize("number", [INFO, GO, SET_CONTEXTS, LIST_CONTEXTS])
def test_a_name_of_4096_bytes_is_looked_up(number):
    name = "ö" * 2048
    data = info(name) if number in {INFO, GO} else contexts(name)

    events = feed(after(option(STRUCTURED)), option(number, data))

    assert events[0] == Ask(name)
    assert isinstance(events[1], Reply)


class TestContexts:
    @pytest.mark.parametrize(
        ("queries", "is_found"),
        [
            ((), True),
            (("base:",), True),
            (("base:allocation",), True),
            (("base:allocation", "base:", "base:allocation"), True),
            (("qemu:dirty", "base:allocation"), True),
            (("base:other",), False),
            (("base:allocation ",), False),
            (("base:alloc",), False),
            (("BASE:ALLOCATION",), False),
            (("base",), False),
            (("",), False),
            (("qemu:",), False),
        ],
    )
    def test_listing_finds_by_name_or_namespace(self, queries, is_found):
        replies = ask(after(option(STRUCTURED)), LIST_CONTEXTS, contexts("disk", *queries))

        assert replies == [(CONTEXT, b"\0\0\0\0base:allocation")] * is_found + [(ACK, b"")]

    @pytest.mark.parametrize(
        ("queries", "is_found"),
        [
            ((), False),
            (("base:",), False),
            (("base:allocation",), True),
            (("base:allocation", "base:allocation"), True),
            (("x-a:b", "base:", "base:allocation"), True),
            (("base:allocation:",), False),
            (("allocation",), False),
            (("",), False),
        ],
    )
    def test_setting_selects_by_name_alone(self, queries, is_found):
        handshake = after(option(STRUCTURED))

        replies = ask(handshake, SET_CONTEXTS, contexts("disk", *queries))

        assert replies == [(CONTEXT, b"\0\0\0\1base:allocation")] * is_found + [(ACK, b"")]
        assert begin(feed(handshake, option(GO, info("disk")))).allocation is is_found

    @pytest.mark.parametrize("number", [LIST_CONTEXTS, SET_CONTEXTS])
    def test_structured_replies_come_first(self, number):
        handshake = after()

        assert kinds(handshake, number, contexts("disk", "base:allocation")) == [INVALID]
        handshake = after(option(number, contexts("disk", "base:allocation")), option(STRUCTURED))
        assert begin(feed(handshake, option(GO, info("disk")))).allocation is False

    @pytest.mark.parametrize("number", [LIST_CONTEXTS, SET_CONTEXTS])
    def test_an_unknown_name_is_told(self, number):
        assert kinds(after(option(STRUCTURED)), number, contexts("absent", "base:")) == [UNKNOWN]

    @pytest.mark.parametrize(
        "spoiler",
        [
            option(SET_CONTEXTS, contexts("disk")),
            option(SET_CONTEXTS, contexts("disk", "base:")),
            option(SET_CONTEXTS, contexts("locked", "base:allocation")),
            option(SET_CONTEXTS, contexts("absent", "base:allocation")),
            option(SET_CONTEXTS, b"bad"),
            option(SET_CONTEXTS, bytes(8193)),
            option(SET_CONTEXTS, contexts("x" * 4097)),
        ],
    )
    def test_the_last_selection_counts_even_if_it_failed(self, spoiler):
        chosen = option(SET_CONTEXTS, contexts("disk", "base:allocation"))

        spoiled = after(option(STRUCTURED), chosen, spoiler)
        mended = after(option(STRUCTURED), spoiler, chosen)

        assert begin(feed(spoiled, option(GO, info("disk")))).allocation is False
        assert begin(feed(mended, option(GO, info("disk")))).allocation is True

    @pytest.mark.parametrize(
        "between",
        [
            option(LIST_CONTEXTS, contexts("locked")),
            option(INFO, info("locked")),
            option(GO, info("absent")),
            option(LIST),
            option(STRUCTURED),
            option(EXTENDED),
        ],
    )
    def test_other_options_leave_the_selection(self, between):
        chosen = option(SET_CONTEXTS, contexts("disk", "base:allocation"))

        handshake = after(option(STRUCTURED), chosen, between)

        assert begin(feed(handshake, option(GO, info("disk")))).allocation is True

    def test_a_selection_for_another_export_is_void(self):
        chosen = option(SET_CONTEXTS, contexts("locked", "base:allocation"))

        events = feed(after(option(STRUCTURED), chosen), option(GO, info("disk")))

        assert begin(events) == Begin(DISK, structured=True, allocation=False, rest=b"")


class TestStructured:
    def test_it_is_acknowledged_and_holds(self):
        handshake = after()

        assert ask(handshake, STRUCTURED) == [(ACK, b"")]
        assert ask(handshake, STRUCTURED) == [(ACK, b"")]
        assert begin(feed(handshake, option(GO, info("locked")))) == Begin(
            LOCKED, structured=True, allocation=False, rest=b""
        )


class TestUnknownOptions:
    @pytest.mark.parametrize("number", [0, PEEK, EXTENDED, 12, 0x7FFF_FFFF, 0xFFFF_FFFF])
    @pytest.mark.parametrize("length", [0, 1, 8192, 8193, 65536])
    def test_their_data_is_passed_over(self, number, length):
        handshake = after()

        assert kinds(handshake, number, bytes(length)) == [UNSUP]
        assert kinds(handshake, STRUCTURED) == [ACK]

    def test_tls_is_unknown_where_there_is_none(self):
        assert kinds(after(tls=Tls.ABSENT), STARTTLS) == [UNSUP]


class TestLimits:
    @pytest.mark.parametrize("number", [LIST, INFO, GO, STRUCTURED, LIST_CONTEXTS, SET_CONTEXTS])
    def test_data_over_8_kib_is_passed_over_and_too_big(self, number):
        handshake = after(option(STRUCTURED))

        assert kinds(handshake, number, bytes(8193)) == [TOO_BIG]
        assert kinds(handshake, number, b"IHAVEOPT" * 8192) == [TOO_BIG]
        assert kinds(handshake, number, bytes(8192)) == [INVALID]
        assert kinds(handshake, INFO, info("disk"))[-1] == ACK

    @pytest.mark.parametrize("length", [65537, 2**31, 2**32 - 1])
    @pytest.mark.parametrize("number", [EXPORT_NAME, ABORT, LIST, INFO, GO, EXTENDED, 77])
    def test_data_over_64_kib_ends_the_connection_at_its_header(self, number, length):
        assert is_end(feed(after(), header(number, length)))

    @pytest.mark.parametrize("place", range(8))
    def test_another_magic_ends_the_connection(self, place):
        sent = bytearray(option(LIST))
        sent[place] ^= 1

        assert is_end(feed(after(), bytes(sent)))

    def test_256_options_are_answered_and_the_next_ends_the_connection(self):
        events = feed(after(), option(LIST) * 10_000)

        assert [type(event) for event in events] == [Reply] * OPTIONS_MAX + [End]
        assert OPTIONS_MAX == 256

    def test_options_that_fail_count_too(self):
        handshake = after()

        events = [event for _ in range(10_000) for event in feed(handshake, option(77))]

        assert [type(event) for event in events] == [Reply] * 256 + [End]

    @pytest.mark.parametrize("piece", [1000, 65536, 10_000_000])
    def test_who_does_not_wait_for_an_answer_is_cut_off(self, piece):
        handshake = after()
        handshake.receive(option(GO, info("disk")))

        during = [handshake.receive(bytes(piece)) for _ in range(70)]

        assert during == [[]] * 70
        assert len(handshake._inbox) <= 65536
        assert is_end(handshake.answer(DISK))

    def test_64_kib_are_kept_while_a_question_is_open(self):
        handshake = after()
        sent = bytes(range(256)) * 256
        handshake.receive(option(GO, info("disk")) + sent)

        assert begin(handshake.answer(DISK)).rest == sent

    def test_options_that_come_behind_a_question_are_answered_after_it(self):
        handshake = after()

        asked = handshake.receive(option(INFO, info("absent")) + option(77) + option(ABORT))
        events = handshake.answer(None)

        assert asked == [Ask("absent")]
        assert [type(event) for event in events] == [Reply, Reply, Reply, End]

    @pytest.mark.parametrize("last", [option(ABORT), bytes(16)])
    def test_nothing_comes_after_the_end(self, last):
        handshake = after(last)

        assert feed(handshake, option(LIST) * 10) == []
        assert len(handshake._inbox) == 0

"""TLS in the handshake: who may begin it, and that nothing said in plain text outlives it."""

import pytest

from drivebay.nbd.protocol import Begin, End, Reply, StartTls, Tls
from unit.nbd_wire import (
    ABORT,
    ACK,
    DISK,
    EXPORT_NAME,
    EXTENDED,
    FIXED,
    GO,
    INFO,
    INVALID,
    LIST,
    LIST_CONTEXTS,
    SET_CONTEXTS,
    STARTTLS,
    STRUCTURED,
    TLS_REQD,
    TOO_BIG,
    UNSUP,
    after,
    begin,
    contexts,
    feed,
    header,
    info,
    kinds,
    option,
)

ACKNOWLEDGED = [
    Reply(bytes.fromhex("0003e889045565a9 00000005 00000001 00000000")),
    StartTls(),
]


@pytest.mark.parametrize("tls", [Tls.OFFERED, Tls.REQUIRED])
class TestStarting:
    def test_it_is_acknowledged_and_then_begins(self, tls):
        assert feed(after(tls=tls), option(STARTTLS)) == ACKNOWLEDGED

    def test_a_second_time_it_is_invalid(self, tls):
        handshake = after(option(STARTTLS), tls=tls)

        assert kinds(handshake, STARTTLS) == [INVALID]
        assert kinds(handshake, STARTTLS) == [INVALID]
        assert kinds(handshake, INFO, info("disk"))[-1] == ACK

    def test_with_data_it_is_invalid_and_does_not_begin(self, tls):
        handshake = after(tls=tls)

        assert kinds(handshake, STARTTLS, b"\0") == [INVALID]
        assert kinds(handshake, STARTTLS, bytes(8192)) == [INVALID]
        assert kinds(handshake, STARTTLS, bytes(8193)) == [TOO_BIG]
        assert feed(handshake, option(STARTTLS)) == ACKNOWLEDGED

    @pytest.mark.parametrize(
        "injected", [b"\x16", b"I", option(STRUCTURED), option(GO, info("disk")), bytes(100_000)]
    )
    def test_plain_text_behind_it_ends_the_connection(self, tls, injected):
        events = feed(after(tls=tls), option(STARTTLS) + injected)

        assert [type(event) for event in events] == [End]

    def test_plain_text_behind_it_that_came_during_a_question_ends_the_connection(self, tls):
        handshake = after(tls=tls)
        events = feed(handshake, option(INFO, info("disk")) + option(STARTTLS) + option(LIST))

        assert isinstance(events[-1], End)
        assert StartTls() not in events

    def test_the_flags_stay(self, tls):
        handshake = after(option(STARTTLS), tls=tls, flags=FIXED)

        events = feed(handshake, option(EXPORT_NAME, b"disk"))

        assert len(events[1].data) == 10 + 124
        handshake = after(option(STARTTLS), tls=tls)
        assert len(feed(handshake, option(EXPORT_NAME, b"disk"))[1].data) == 10

    def test_options_before_it_count_with_those_after_it(self, tls):
        handshake = after(*[option(77)] * 200, option(STARTTLS), tls=tls)

        events = feed(handshake, option(77) * 100)

        assert [type(event) for event in events] == [Reply] * 55 + [End]

    def test_all_can_be_negotiated_in_it(self, tls):
        handshake = after(
            option(STARTTLS),
            option(STRUCTURED),
            option(SET_CONTEXTS, contexts("disk", "base:allocation")),
            tls=tls,
        )

        events = feed(handshake, option(GO, info("disk")) + b"rest")

        assert events[-1] == Begin(DISK, structured=True, allocation=True, rest=b"rest")


class TestForgetting:
    def test_structured_replies_are_forgotten(self):
        handshake = after(option(STRUCTURED), option(STARTTLS), tls=Tls.OFFERED)

        assert kinds(handshake, LIST_CONTEXTS, contexts("disk")) == [INVALID]
        events = feed(handshake, option(GO, info("disk")))
        assert begin(events).structured is False
        assert events[1].data[30:32] == b"\x09\x6d"

    def test_contexts_are_forgotten(self):
        handshake = after(
            option(STRUCTURED),
            option(SET_CONTEXTS, contexts("disk", "base:allocation")),
            option(STARTTLS),
            option(STRUCTURED),
            tls=Tls.OFFERED,
        )

        assert begin(feed(handshake, option(GO, info("disk")))).allocation is False

    def test_known_exports_are_forgotten(self):
        handshake = after(option(INFO, info("disk")), option(STARTTLS), tls=Tls.OFFERED)

        assert kinds(handshake, LIST) == [ACK]

    @pytest.mark.parametrize("refused", [option(STARTTLS, b"\0"), option(STARTTLS, bytes(9000))])
    def test_nothing_is_forgotten_where_it_does_not_begin(self, refused):
        handshake = after(
            option(STRUCTURED),
            option(SET_CONTEXTS, contexts("disk", "base:allocation")),
            refused,
            tls=Tls.OFFERED,
        )

        assert begin(feed(handshake, option(GO, info("disk")))).allocation is True

    def test_nothing_is_forgotten_when_it_is_refused_in_tls(self):
        handshake = after(
            option(STARTTLS), option(INFO, info("disk")), option(STARTTLS), tls=Tls.REQUIRED
        )

        assert len(kinds(handshake, LIST)) == 2


class TestRequired:
    @pytest.mark.parametrize(
        ("number", "data"),
        [
            (LIST, b""),
            (LIST, b"\0"),
            (INFO, info("disk")),
            (INFO, b"bad"),
            (GO, info("disk")),
            (GO, info("absent")),
            (STRUCTURED, b""),
            (LIST_CONTEXTS, contexts("disk")),
            (SET_CONTEXTS, contexts("disk", "base:allocation")),
            (EXTENDED, b""),
            (77, bytes(100)),
            (0xFFFF_FFFF, bytes(65536)),
            (INFO, bytes(65536)),
        ],
    )
    def test_every_option_needs_it(self, number, data):
        """Nothing is asked, so nothing is told about names."""
        events = feed(after(tls=Tls.REQUIRED), option(number, data))

        assert [type(event) for event in events] == [Reply]
        assert events[0].data[12:16] == TLS_REQD.to_bytes(4)

    def test_what_was_refused_for_it_has_no_effect_in_it(self):
        handshake = after(
            option(STRUCTURED),
            option(SET_CONTEXTS, contexts("disk", "base:allocation")),
            option(STARTTLS),
            tls=Tls.REQUIRED,
        )

        assert begin(feed(handshake, option(GO, info("disk")))) == Begin(
            DISK, structured=False, allocation=False, rest=b""
        )

    @pytest.mark.parametrize("name", [b"disk", b"absent", b"\xff"])
    def test_an_export_that_is_named_without_it_ends_the_connection(self, name):
        events = feed(after(tls=Tls.REQUIRED), option(EXPORT_NAME, name))

        assert [type(event) for event in events] == [End]

    def test_leaving_needs_no_tls(self):
        events = feed(after(tls=Tls.REQUIRED), option(ABORT))

        assert [type(event) for event in events] == [Reply, End]

    @pytest.mark.parametrize("flags", [0, 2])
    def test_a_client_that_cannot_begin_it_is_cut_off(self, flags):
        events = feed(after(tls=Tls.REQUIRED, flags=b""), flags.to_bytes(4))

        assert [type(event) for event in events] == [End]

    def test_a_long_option_ends_the_connection_as_ever(self):
        events = feed(after(tls=Tls.REQUIRED), header(INFO, 65537))

        assert [type(event) for event in events] == [End]


class TestOffered:
    def test_all_is_there_without_it(self):
        handshake = after(tls=Tls.OFFERED)

        assert kinds(handshake, STRUCTURED) == [ACK]
        assert isinstance(feed(handshake, option(GO, info("disk")))[-1], Begin)

    @pytest.mark.parametrize("number", [EXTENDED, 77])
    def test_what_is_unknown_is_unknown_in_it_too(self, number):
        assert kinds(after(option(STARTTLS), tls=Tls.OFFERED), number) == [UNSUP]

    def test_a_client_of_the_plain_newstyle_cannot_begin_it(self):
        events = feed(after(tls=Tls.OFFERED, flags=b"\0\0\0\0"), option(STARTTLS))

        assert [type(event) for event in events] == [End]


@pytest.mark.parametrize("data", [b"", b"\0", bytes(9000)])
def test_where_it_is_absent_it_is_an_unknown_option(data):
    handshake = after(tls=Tls.ABSENT)

    assert kinds(handshake, STARTTLS, data) == [UNSUP]
    assert kinds(handshake, STRUCTURED) == [ACK]

"""However the bytes of a handshake are cut, the same events come of them."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivebay.nbd.protocol import Ask, Begin, End, Event, Handshake, Tls
from unit.nbd_wire import (
    ABORT,
    EXPORT_NAME,
    EXPORTS,
    EXTENDED,
    FIXED,
    FIXED_WITHOUT_ZEROES,
    GO,
    INFO,
    LIST,
    LIST_CONTEXTS,
    SET_CONTEXTS,
    STARTTLS,
    STRUCTURED,
    contexts,
    feed,
    header,
    info,
    option,
)

CHOSEN = option(SET_CONTEXTS, contexts("disk", "base:allocation"))

# What a client sends between two waits: TLS is begun with nothing behind it.
SCRIPTS = {
    "an old client": [FIXED + option(EXPORT_NAME, b"disk") + b"requests"],
    "the plain newstyle": [b"\0\0\0\0" + option(EXPORT_NAME, b"locked")],
    "an unknown name": [FIXED + option(EXPORT_NAME, b"absent")],
    "all that a client needs": [
        FIXED_WITHOUT_ZEROES
        + option(STRUCTURED)
        + option(LIST_CONTEXTS, contexts("disk", "base:"))
        + CHOSEN
        + option(INFO, info("absent", 3))
        + option(INFO, info("disk", 1, 2, 3))
        + option(LIST)
        + option(EXTENDED, b"data")
        + option(GO, info("disk", 3))
        + b"requests"
    ],
    "TLS": [
        FIXED_WITHOUT_ZEROES + option(STRUCTURED) + CHOSEN + option(STARTTLS),
        option(STARTTLS) + option(STRUCTURED) + option(GO, info("disk")),
    ],
    "what is wrong": [
        FIXED
        + option(LIST, b"data")
        + option(INFO, b"bad")
        + option(SET_CONTEXTS, contexts("disk"))
        + option(77, b"IHAVEOPT" * 5)
        + option(ABORT, b"bye")
        + option(LIST)
    ],
    "an unknown flag": [b"\0\0\1\3" + option(LIST)],
    "no option": [FIXED + option(LIST) + b"IHAVEOPS" + bytes(20)],
    "4 GiB": [FIXED + option(LIST) + header(INFO, 2**32 - 1) + bytes(20)],
    "too many": [FIXED + option(LIST) * 260],
}
LONG = {
    "8 KiB": [FIXED + option(INFO, bytes(8192)) + option(ABORT)],
    "over 8 KiB": [FIXED + option(INFO, bytes(8193)) + option(ABORT)],
    "64 KiB": [FIXED + option(INFO, b"IHAVEOPT" * 8192) + option(ABORT)],
}


def events_of(script: list[bytes], cuts: Iterable[int], tls: Tls) -> list[Event]:
    """Feed *script* cut where *cuts* say, and return its events, with all that `Begin` leaves."""
    handshake = Handshake(tls)
    edges = sorted({0, *cuts})
    seen: list[Event] = []
    start = 0
    for sent in script:
        inside = [edge - start for edge in edges if 0 < edge - start < len(sent)]
        for low, high in zip([0, *inside], [*inside, len(sent)], strict=True):
            piece = sent[low:high]
            if seen and isinstance(seen[-1], Begin):
                seen[-1] = seen[-1]._replace(rest=seen[-1].rest + piece)
                assert handshake.receive(piece) == []
            else:
                seen += feed(handshake, piece)
        start += len(sent)
    return seen


@pytest.mark.parametrize("tls", Tls)
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_cut_at_any_byte_changes_nothing(script, tls):
    length = sum(map(len, script))
    places = range(length) if length < 1000 else range(0, length, 53)
    whole = events_of(script, [], tls)

    assert [place for place in places if events_of(script, [place], tls) != whole] == []


@pytest.mark.parametrize("tls", Tls)
@pytest.mark.parametrize("script", (SCRIPTS | LONG).values(), ids=SCRIPTS | LONG)
def test_one_byte_at_a_time_changes_nothing(script, tls):
    whole = events_of(script, [], tls)

    assert events_of(script, range(sum(map(len, script))), tls) == whole


@pytest.mark.parametrize("script", LONG.values(), ids=LONG)
@pytest.mark.parametrize("place", [3, 4, 19, 20, 21, 8211, 8212, 8213, 8214, 65555, 65556])
def test_a_cut_at_the_edge_of_a_long_option_changes_nothing(script, place):
    assert events_of(script, [place], Tls.ABSENT) == events_of(script, [], Tls.ABSENT)


FIELDS = [b"\0", b"\xff", b"\0\0\0\4", b"disk", b"IHAVEOPT", b"base:allocation", b"\0\0\0\0"]
NUMBERS = st.integers(0, 12) | st.sampled_from([77, 0xFFFF_FFFF])
DATA = (
    st.builds(
        lambda name, asked: info(name, *asked),
        st.sampled_from([*EXPORTS, "absent", ""]),
        st.lists(st.integers(0, 4), max_size=4),
    )
    | st.builds(
        lambda name, queries: contexts(name, *queries),
        st.sampled_from([*EXPORTS, "absent"]),
        st.lists(st.sampled_from(["base:allocation", "base:", "", "x:y"]), max_size=3),
    )
    | st.just(b"")
    | st.lists(st.sampled_from(FIELDS), max_size=8).map(b"".join)
    | st.binary(max_size=40)
)
OPTIONS = st.builds(option, NUMBERS, DATA)


class Long(NamedTuple):
    """An option whose header says *length*, with data up to what is ever read."""

    number: int
    length: int

    def data(self) -> bytes:
        return header(self.number, self.length) + bytes(min(self.length, 66_000))


class Sent(NamedTuple):
    """A client's bytes, in few words: what they are made of, and what of them is overwritten."""

    flags: bytes
    parts: list[bytes | Long]
    changes: list[tuple[int, int, bytes]]

    def data(self) -> bytes:
        parts = [part.data() if isinstance(part, Long) else part for part in self.parts]
        data = bytearray(self.flags + b"".join(parts))
        for place, length, by in self.changes:
            start = place % (len(data) + 1)
            data[start : start + length] = by
        return bytes(data)


LONG_OPTIONS = st.builds(
    Long, NUMBERS, st.sampled_from([8192, 8193, 65536, 65537, 2**31, 2**32 - 1])
)
SENT = st.builds(
    Sent,
    st.sampled_from([FIXED, FIXED_WITHOUT_ZEROES, b"\0\0\0\0", b""]),
    st.lists(OPTIONS | OPTIONS | OPTIONS | LONG_OPTIONS | st.binary(max_size=30), max_size=12),
    st.just([])
    | st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 2), st.binary(max_size=2)), max_size=3
    ),
)


@given(
    sent=SENT,
    tls=st.sampled_from(Tls),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    patience=st.lists(st.booleans(), max_size=12),
)
def test_whatever_is_sent_the_handshake_stays_within_its_bounds(sent, tls, cuts, patience):
    """Answers come late or at once; nothing is raised, and the end is the end."""
    handshake = Handshake(tls)
    data = sent.data()
    edges = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    waits = iter(patience)
    seen: list[Event] = []
    asked: Ask | None = None

    for low, high in pairwise(edges):
        events = handshake.receive(data[low:high])
        while True:
            assert not any(isinstance(event, Ask) for event in events[:-1])
            assert not (events and asked), "an event while a question was open"
            seen += events
            asked = asked or (events[-1] if events and isinstance(events[-1], Ask) else None)
            assert len(handshake._inbox) <= 65536
            if asked is None or next(waits, False):
                break
            found, asked = EXPORTS.get(asked.name), None
            events = handshake.answer(found)

    ends = [place for place, event in enumerate(seen) if isinstance(event, Begin | End)]
    assert ends in ([], [len(seen) - 1])
    if ends:
        assert handshake.receive(option(LIST)) == []
        assert len(handshake._inbox) == 0


@given(sent=SENT, tls=st.sampled_from(Tls), cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_whatever_is_sent_cuts_change_nothing(sent, tls, cuts):
    """All but the two things where it matters what has come too early are the same.

    The number of STARTTLS is not sent, and who sends 64 KiB behind a question is passed over.
    """
    data = sent.data().replace(b"\0\0\0\5", b"\0\0\0\6")
    whole = events_of([data], [], tls)
    assume(whole[-1:] != [End("the client did not wait for an answer")])

    assert events_of([data], cuts, tls) == whole

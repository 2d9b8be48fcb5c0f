"""Heads that are read from memory are the heads that the parser reads, whatever stands around them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.http.errors import Refusal
from drivebay.http.framing import TARGET_MAX_BYTES, Head, HeadReader, KnownHeads

METHODS = [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"get", b"GETT", b"PRI"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/0.9", b""]
TARGETS = [
    b"/",
    b"/drives/list",
    b"/drives/a/read/0/4k",
    b"/drives/a/read/0/4k?x=1",
    b"/a%20b",
    b'/"<>\\^`{|}~',
    b"//",
    b"/a#b",
    b"/a b",
    b"/\x80\xff",
    b"/\x7f",
    b"/\x01",
    b"/\t",
    b"*",
    b"a",
    b"",
    b"http://x/",
    b"x:443",
    b"/" + b"a" * (TARGET_MAX_BYTES - 16),
    b"/" + b"a" * (TARGET_MAX_BYTES - 1),
    b"/" + b"a" * TARGET_MAX_BYTES,
]
LINES = [
    b"Host: x",
    b"host: x",
    b"Host: y",
    b"Host:x",
    b"Host : x",
    b"Host: x\n",
    b"Host",
    b": x",
    b" x",
    b"\tHost: x",
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"Content-Length: +3",
    b"Content-Length: " + b"9" * 20,
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: else",
    b"Authorization: Basic eDp5",
    b"Authorization: Basic eDp6",
    b"Accept: */*",
    b"X: \x80",
    b"X: \x00",
    b"X: " + b"x" * 1000,
]
USUAL = [
    [b"Host: x"],
    [b"Host: x", b"Authorization: Basic eDp5"],
    [b"Host: x", b"Authorization: Basic eDp5", b"Connection: close"],
    [b"Host: x", b"Authorization: Basic eDp5", b"Content-Length: 3"],
]


def usual_or(odd: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return the first, mostly, so that what is known is met again."""
    return st.just(odd[0]) | st.just(odd[0]) | st.sampled_from(odd)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method, version = draw(usual_or(METHODS)), draw(usual_or(VERSIONS))
    lines = draw(
        st.sampled_from(USUAL)
        | st.sampled_from(USUAL)
        | st.lists(st.sampled_from(LINES), max_size=5)
    )
    start = b" ".join((method, draw(st.sampled_from(TARGETS)), version))
    data = b"\r\n".join((start, *lines, b"", b""))
    if b"Content-Length: 3" in lines:
        data += draw(st.sampled_from([b"abc", b"GET", b"\r\n\r"]))
    return data


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One request with a byte more, a byte less or another byte somewhere."""
    data = draw(requests())
    at = draw(st.integers(0, len(data) - 1))
    new = draw(
        st.sampled_from([b"", b"\r", b"\n", b" ", b":", b"\0", b"x", b"X", b"\r\n", b"\xff"])
    )
    return data[:at] + new + data[at + draw(st.integers(0, 1)) :]


BLANKS = st.sampled_from([b"", b"", b"", b"\r\n", b"\r\n\r\n", b"\n", b"\r"])
STREAMS = st.lists(st.tuples(BLANKS, requests() | requests() | mutated()), max_size=6).map(
    lambda parts: b"".join(blank + data for blank, data in parts)
)

Outcome = tuple[list[Head], tuple[int, str, str] | None, bytes]


def converse(arrivals: Iterable[bytes], known: KnownHeads, *, remembers: bool) -> Outcome:
    """Read as a connection does: return heads, the refusal that ended it, and what is left."""
    inbox, reader, heads, body_left = bytearray(), HeadReader(known), [], 0
    for part in arrivals:
        inbox += part
        while inbox:
            passed = min(body_left, len(inbox))
            body_left -= passed
            del inbox[:passed]
            while reader.is_fresh and inbox.startswith(b"\r\n"):
                del inbox[:2]
            head = known.take(inbox) if remembers and reader.is_fresh and inbox else None
            try:
                if head is None and not (inbox and reader.take(inbox)):
                    break
            except Refusal as refusal:
                return heads, (refusal.status, refusal.word, str(refusal)), bytes(inbox)
            if head is None:
                head, reader = reader.head, HeadReader(known)
            heads.append(head)
            body_left = head.length
    return heads, None, bytes(inbox)


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    """A stream in the parts in which it arrives."""
    data = draw(STREAMS)
    cuts = draw(st.just([]) | st.lists(st.integers(0, len(data)), max_size=5))
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]


@given(st.lists(cut(), min_size=2, max_size=4))
def test_with_what_was_read_before_in_memory_all_is_read_as_without(connections):
    known = KnownHeads()

    for arrivals in connections:
        without = converse(arrivals, KnownHeads(), remembers=False)

        assert converse(arrivals, known, remembers=True) == without


@given(st.sampled_from(USUAL), st.sampled_from([b"GET", b"POST"]), st.data())
def test_one_byte_that_differs_from_what_is_known_is_read_as_what_it_is(lines, method, data):
    block = b"\r\n".join((*lines, b"", b""))
    known = KnownHeads()
    converse([method + b" /first HTTP/1.1\r\n" + block], known, remembers=True)
    request = method + b" /other HTTP/1.1\r\n" + block
    at = data.draw(st.integers(0, len(request) - 1))
    byte = data.draw(st.integers(0, 255))
    request = request[:at] + bytes([byte]) + request[at + 1 :]

    found = converse([request], known, remembers=True)

    assert found == converse([request], KnownHeads(), remembers=False)


def learnt(known: KnownHeads, request: bytes) -> Head:
    """Have the parser read *request* into *known*."""
    reader = HeadReader(known)
    assert reader.take(bytearray(request))
    assert reader.head is not None
    return reader.head


def test_headers_that_were_read_before_are_known_with_another_target():
    known = KnownHeads()
    learnt(known, b"GET /a HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n")
    inbox = bytearray(b"GET /b?c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\nGET ")

    head = known.take(inbox)

    assert head == Head(
        method="GET",
        target=b"/b?c",
        version="1.1",
        headers=[(b"host", b"x"), (b"accept", b"*/*")],
        keeps_alive=True,
        length=0,
        expects_continue=False,
    )
    assert inbox == b"GET "


@pytest.mark.parametrize("end", range(1, 40))
def test_a_head_that_is_not_all_there_is_left_where_it_is(end):
    request = b"GET /a HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
    known = KnownHeads()
    learnt(known, request)
    inbox = bytearray(request[:end])

    assert known.take(inbox) is None
    assert inbox == request[:end]


def test_a_get_does_not_make_a_post_known():
    known = KnownHeads()
    learnt(known, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert known.take(bytearray(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")) is None


def test_what_was_refused_is_not_known():
    known = KnownHeads()
    refused = b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"
    with pytest.raises(Refusal):
        HeadReader(known).take(bytearray(refused))

    assert known.take(bytearray(refused)) is None


def test_a_flood_of_different_headers_is_forgotten_and_read_right():
    known = KnownHeads()
    for number in range(2000):
        name = str(number).encode()
        request = b"GET /%b HTTP/1.1\r\nHost: x\r\nX-Note: %b\r\n\r\n" % (name, name)

        assert learnt(known, request) == known.take(bytearray(request))

    assert len(known._heads) <= 256


def test_long_blocks_are_not_kept():
    known = KnownHeads()
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Note: %b\r\n\r\n" % (b"x" * 2000)
    learnt(known, request)

    assert known.take(bytearray(request)) is None

"""What the histories are made of: strategies for drives' bytes, sizes, keys and values."""

import random
from dataclasses import dataclass

from hypothesis import strategies as st

from property import streams
from property.manner import BAD_CREDENTIALS, Manner
from property.nouns import PIECE, Upload

MARK = b"\xffplain\x00drivebay!"
"""Stands at the start of every sector's worth of written data; never to be found encrypted."""

_SECTOR = 4096


def manners(*, wrong_methods: tuple[str, ...] = ("GET", "HEAD", "PUT")) -> st.SearchStrategy:
    """Draw the manner of a call: mostly its owner's, a right method, everything else at random."""
    who = ["owner"] * 60 + ["alice", "bob", "bob", "carol", "carol"] + ["", ""]
    return st.builds(
        Manner,
        who=st.sampled_from(who).flatmap(
            lambda name: st.just(name) if name else st.sampled_from(BAD_CREDENTIALS)
        ),
        method=st.sampled_from([""] * 60 + list(wrong_methods)),
        json_in=st.booleans(),
        json_out=st.booleans(),
        worker=st.integers(0, 1),
        dice=st.integers(0, 10**6),
    )


def reading() -> st.SearchStrategy:
    return manners(wrong_methods=("HEAD",) * 6 + ("DELETE", "PATCH", "OPTIONS"))


@dataclass(frozen=True)
class Chunk:
    kind: str
    length: int
    seed: int

    def made(self) -> bytes:
        if self.kind == "zeros":
            return bytes(self.length)
        if self.kind == "text":
            line = MARK + f" line {self.seed}\n".encode()
            return (line * (self.length // len(line) + 1))[: self.length]
        data = bytearray(random.Random(self.seed).randbytes(self.length))
        for at in range(0, self.length - len(MARK), _SECTOR):
            data[at : at + len(MARK)] = MARK
        return bytes(data)


_SMALL = [1, 2, 100, 511, 512, 4095, 4096, 4096, 4097, 8192, 8192, 12289, 20000, 40960, 65536]
_LARGE = [2**20, 2**20 + 1, PIECE - 1, PIECE, PIECE + 1]

chunks = st.builds(
    Chunk,
    kind=st.sampled_from(["text", "random", "zeros"]),
    length=st.sampled_from(_SMALL * 3 + _LARGE),
    seed=st.integers(0, 99),
)


@dataclass(frozen=True)
class Stuff:
    """Bytes for a drive, drawn as what they are made of, so that an example stays readable."""

    chunks: tuple[Chunk, ...]
    form: str = "plain"

    def made(self) -> bytes:
        data = b"".join(chunk.made() for chunk in self.chunks)
        return FORMS[self.form](data)


def _damaged(stream: bytes, from_end: int) -> bytes:
    at = len(stream) - from_end
    return stream[:at] + bytes([stream[at] ^ 1]) + stream[at + 1 :]


FORMS = {
    "plain": lambda data: data,
    "gzip": streams.packed,
    "gzip stored": lambda data: streams.packed(data, 0),
    "two members": lambda data: streams.packed(data[:5000]) + streams.packed(data[5000:]),
    "padded": lambda data: streams.packed(data) + bytes(1000) + b"padding",
    "bad crc": lambda data: _damaged(streams.packed(data), 8),
    "bad length": lambda data: _damaged(streams.packed(data), 1),
    "short": lambda data: streams.packed(data)[:-3],
    "half": lambda data: streams.packed(data)[: len(streams.packed(data)) // 2],
}
"""What can be made of some bytes; all but the first begin as a gzip stream does."""

_STREAMS = [form for form in FORMS if form != "plain"]


def stuff(*forms: str) -> st.SearchStrategy:
    return st.builds(
        Stuff,
        chunks=st.lists(chunks, min_size=1, max_size=4).map(tuple),
        form=st.sampled_from(forms or ("plain",)),
    )


plain = stuff("plain")
large = st.builds(
    Stuff,
    chunks=st.lists(
        st.builds(
            Chunk,
            kind=st.sampled_from(["text", "random", "zeros"]),
            length=st.sampled_from([PIECE - 4096, PIECE, PIECE, PIECE + 4096, 65536]),
            seed=st.integers(0, 99),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
gzip_streams = stuff("gzip", "gzip", "gzip stored", "two members", "padded", *_STREAMS)


@dataclass(frozen=True)
class Packing:
    """How a write's body goes over the wire, and whether all of it arrives."""

    form: str = "plain"
    coding: str = ""
    has_length: bool = True
    then: str = "end"
    eighths: int = 8

    def upload(self, content: bytes) -> Upload:
        wire = FORMS[self.form](content) if self.has_length else b""
        sent = max(0, min(len(wire) * self.eighths // 8, len(wire) - 1))
        return Upload(wire, self.coding, self.has_length, sent, self.then if wire else "end")


_usual = st.sampled_from([Packing(), Packing("gzip", "gzip"), Packing("gzip stored", "gzip")])
_rare = st.builds(
    Packing,
    form=st.sampled_from(list(FORMS)),
    coding=st.sampled_from(["", "identity", "gzip", "gzip", "gzip", "X-GZIP", "br"]),
    has_length=st.sampled_from([True] * 9 + [False]),
    then=st.sampled_from(["end", "end", "hang up", "stall"]),
    eighths=st.integers(0, 8),
)
packings = st.one_of(_usual, _usual, _usual, _rare)

places = st.tuples(
    st.sampled_from(["start", "start", "start", "middle", "fit", "fit", "end", "over"]),
    st.sampled_from([0, 0, 0, 1, 511, 4096, 4097, 20000, PIECE]),
)
"""Where in a drive: how far behind its start or middle, or before where the length just fits."""

sizes = st.sampled_from(
    [
        *(1, 511, 4095, 4096, 4097, 8192, 12288, 20000, 65536, 65537, 100000, 10**6, 2**20),
        *(3 * 2**20, PIECE - 1, PIECE, PIECE + 1, 6 * 2**20, 9 * 2**20),
    ]
)

_note = ["", "v", "two words ", "line\nbreak", "tab\there", "  front", r"lit\nral", "ü \u2028 #"]
_readers = ["", "{bob}", "{bob} {carol}", "{carol} {carol}  {dave}", "{everyone}"]
_readers += ["{bob} {everyone}", "00000000-0000-4000-8000-000000000000"]

fields = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["", "web", "two words", "ünï", "x" * 255, "a=b;c", "true", "7"]),
        "claim:type": st.sampled_from(["exclusive", "shared"]),
        "readers": st.sampled_from(_readers),
        "tags": st.sampled_from(["", "a", "a b a", "  a   b ", "x" * 128, " ".join("t" * 64)]),
        "user:note": st.sampled_from([*_note, "x" * 4096]),
        "user:a/b=c": st.sampled_from(_note),
        "user:" + "k" * 123: st.sampled_from(["", "long"]),
        "cpu": st.sampled_from(["4000", ""]),
        "users": st.just("unknown"),
    },
)

create_fields = st.fixed_dictionaries(
    {},
    optional={
        "encryption:cipher": st.sampled_from(["none", "none", "none", "aes-xts-plain"]),
        "tier": st.sampled_from(["", "disk", "ssd"]),
        "status": st.just("active"),
        "fault": st.just(""),
    },
)

conversions = st.sampled_from(["", "", "gzip", "gunzip", "gunzip"] * 4 + ["zip"])

BAD_NUMBERS = ["-1", "+1", "1.5", "1_0", "0x10", "1kb", "k", "4MM", "1e3", "8388608T", "9" * 21]

BAD_PAIRS = [
    *(("size", text) for text in [*BAD_NUMBERS, "", "0", "0k", " 1", "1 k", "\u0661", "1\u212a"]),
    ("name", "x" * 256),
    ("name", "line\nbreak"),
    ("name", "bell\x07"),
    ("name", "c1\x85"),
    ("claim:type", ""),
    ("claim:type", "Shared"),
    ("encryption:cipher", ""),
    ("encryption:cipher", "aes"),
    ("readers", "bob"),
    ("readers", "FFFFFFFF-ffff-ffff-ffff-ffffffffffff"),
    ("readers", "{bob},{carol}"),
    ("tags", "x" * 129),
    ("tags", " ".join("t" * 65)),
    ("tags", "a\tb"),
    ("user:", "no name"),
    ("user:" + "k" * 124, "long"),
    ("user:note", "x" * 4097),
    ("user:note", "a\rb"),
    ("user:note", "nul\0"),
    ("tier", "x" * 256),
    ("avoid", "here"),
    ("avoid", "00000000-0000-4000-8000-000000000000"),
    ("drive", "00000000-0000-4000-8000-000000000000"),
    ("user", "{dave}"),
    ("status", "asleep"),
    ("read:bytes", "1000000000000"),
    ("imaging", "false"),
    ("media", "floppy"),
]
"""Each spoils a create or a set."""

BAD_TEXTS = [
    b" name x",
    b"na\x01me x",
    b"\tname x",
    b"\xff\xfe",
    b"name x\n\xc3",
    b"\xe2\x80\xa8 x",
]
BAD_JSON = [
    *(b"{", b"[]", b"null", b"7", b'"size"', b"{} {}", b"\xff", b'{"size": 1,}', b"[" * 100000),
    *(b'{"size": NaN}', b'{"size": 1.5}', b'{"size": -1}', b'{"size": 1e3}', b'{"size": true}'),
    *(b'{"name": {}}', b'{"foo": ["x"]}', b'{"name": "x", "name": "x"}', b'{"": "x"}'),
    *(b'{"a b": "x"}', b'{"name": "\\ud800"}', b'{"foo": ' + b"9" * 5000 + b"}"),
]
"""Bodies that hold no pairs that can be read, or none that can be taken."""

oddities = st.sampled_from([None] * 3 * len(BAD_PAIRS) + BAD_PAIRS + ["body"] * 8)

_SERVERS = [f"{number}0000000-0000-4000-8000-00000000000{number}" for number in range(1, 5)]
servers = st.sampled_from([*_SERVERS * 8, "x", _SERVERS[0].replace("1", "A"), "10000000"])
"""Mostly a few, so that they meet on a drive; the last ones are no uuids."""

CLAIMS = [
    *({"claim:access": word} for word in ("write", "write", "write", "", "rw", "READ")),
    {"colour": "blue", "claim:access": "write"},
]

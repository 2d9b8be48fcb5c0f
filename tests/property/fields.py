"""The KEY VALUE pairs of create and set, as docs/http-api.md has them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_NUMBER = re.compile("([0-9]+)([kmgt]?)", re.IGNORECASE | re.ASCII)
_POWERS = ["", "k", "m", "g", "t"]

_CREATE = {"encryption:cipher", "tier", "avoid"}
_RECORD = {
    *("drive", "user", "status", "claimed", "imaging", "imaging:error", "fault"),
    *("read:bytes", "read:requests", "write:bytes", "write:requests"),
    *("store", "store:domain", "media", "format", "rawsize"),
}


class Refused(Exception):
    """The model's answer is an error; of a write, *in_place* bytes are stored all the same."""

    def __init__(self, status: int, word: str) -> None:
        super().__init__(status, word)
        self.status = status
        self.word = word
        self.in_place = 0


def usage() -> Refused:
    return Refused(400, "usage")


@dataclass
class Wanted:
    """What the pairs of a call ask for; None where they say nothing."""

    name: str | None = None
    size: int | None = None
    claim_type: str | None = None
    readers: list[str] | None = None
    tags: list[str] | None = None
    cipher: str | None = None
    tier: str | None = None
    avoid: list[str] = field(default_factory=list)
    user: dict[str, str] = field(default_factory=dict)


def for_create(pairs: Mapping[str, str], caller: str) -> Wanted:
    present = {key: {""} for key in _RECORD} | {"user": {caller}, "status": {"active"}}
    return _wanted(pairs, present)


def for_set(pairs: Mapping[str, str], *records: Mapping[str, str | int]) -> Wanted:
    """Check the pairs of a set on a drive; *records* are what its info and info/full say."""
    present = {key: {str(record.get(key, "")) for record in records} for key in _RECORD | _CREATE}
    return _wanted(pairs, present)


def _wanted(pairs: Mapping[str, str], present: Mapping[str, set[str]]) -> Wanted:
    wanted = Wanted()
    for key, value in pairs.items():
        if key in present:
            if value not in present[key]:
                raise usage()
        elif key in _FIELDS or key.startswith("user:"):
            _take(wanted, key, value)
    return wanted


def _take(wanted: Wanted, key: str, value: str) -> None:
    if key.startswith("user:"):
        _line(value.replace("\n", " ").replace("\t", " "), 4096)
        if len(_line(key, 128)) == len("user:"):
            raise usage()
        wanted.user[key] = value
        return
    name, taken = _FIELDS[key]
    setattr(wanted, name, taken(value))


def number(text: str) -> int:
    """Return the bytes that digits and at most one of k, M, G, T name."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise usage()
    value = int(match[1]) * 1024 ** _POWERS.index(match[2].lower())
    if value >= 2**63:
        raise usage()
    return value


def _line(text: str, most: int) -> str:
    is_control = (c < " " or "\x7f" <= c < "\xa0" for c in text)
    if len(text) > most or any(is_control):
        raise usage()
    return text


def _one_of(text: str, *words: str) -> str:
    if text not in words:
        raise usage()
    return text


def _words(text: str, most: int) -> list[str]:
    words = _line(text, 10**6).split()
    if len(words) > most or any(len(word) > 128 for word in words):
        raise usage()
    return words


def _uuids(text: str) -> list[str]:
    words = _words(text, 256)
    if not all(map(UUID.fullmatch, words)):
        raise usage()
    return words


def _size(text: str) -> int:
    size = number(text)
    if size == 0:
        raise usage()
    return size


def _readers(text: str) -> list[str]:
    readers = list(dict.fromkeys(_uuids(text)))
    return [EVERYONE] if EVERYONE in readers else readers


_FIELDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "name": ("name", lambda text: _line(text, 255)),
    "size": ("size", _size),
    "claim:type": ("claim_type", lambda text: _one_of(text, "exclusive", "shared")),
    "readers": ("readers", _readers),
    "tags": ("tags", lambda text: _words(text, 64)),
    "encryption:cipher": ("cipher", lambda text: _one_of(text, "none", "aes-xts-plain")),
    "tier": ("tier", lambda text: _line(text, 255)),
    "avoid": ("avoid", _uuids),
}
"""Which attribute of Wanted a key sets, and how its value is read."""

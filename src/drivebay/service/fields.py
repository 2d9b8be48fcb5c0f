"""The KEY VALUE pairs of create and set: which there are, and what each may hold.

Unknown keys are ignored, since real clients send some.  A key that the service knows and the call
cannot set is refused, unless it repeats the value that the drive has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from drivebay.errors import InvalidInput
from drivebay.model import (
    AVOID_MAX,
    EVERYONE,
    KEY_LENGTH_MAX,
    NAME_LENGTH_MAX,
    READERS_MAX,
    TAGS_MAX,
    USER_KEYS_MAX,
    VALUE_LENGTH_MAX,
    Cipher,
    ClaimType,
)
from drivebay.units import parse_size
from drivebay.wire import Record, parse_uuid

_SETTABLE = {"name", "size", "claim:type", "readers", "tags"}
_AT_CREATE = {*_SETTABLE, "avoid", "encryption:cipher", "tier"}
_RECORDED = {
    *("drive", "user", "status", "claimed", "imaging", "imaging:error", "fault"),
    *("read:bytes", "read:requests", "write:bytes", "write:requests"),
    *("encryption:cipher", "tier", "avoid", "store", "store:domain"),
    *("media", "format", "rawsize"),
}

_W = TypeVar("_W", Cipher, ClaimType)


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What a caller wants a drive to be; None where nothing was said.

    *user_data* holds the `user:*` keys without their prefix, with "" for those to remove.
    """

    name: str | None = None
    size: int | None = None
    claim_type: ClaimType | None = None
    readers: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    user_data: Mapping[str, str]
    cipher: Cipher | None = None
    tier: str | None = None
    avoid: tuple[UUID, ...] = ()


def for_create(pairs: Mapping[str, str], *, defaults: Record) -> Fields:
    """Return the checked fields of a create call; *defaults* is what a new drive's record has.

    Raises:
        InvalidInput: a value is wrong; the message names the key.
    """
    _refuse_recorded(pairs, _RECORDED - _AT_CREATE, defaults)
    return _checked(pairs)


def for_set(pairs: Mapping[str, str], *, present: Record) -> Fields:
    """Return the checked fields of a set call on the drive whose record is *present*.

    Raises:
        InvalidInput: a value is wrong, or a key cannot be set; the message names the key.
    """
    _refuse_recorded(pairs, _RECORDED, present)
    return _checked({key: value for key, value in pairs.items() if key not in _RECORDED})


def merged_user_data(present: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return the `user:*` pairs after a change: an empty value removes.

    Raises:
        InvalidInput: there would be too many.
    """
    merged = {key: value for key, value in {**present, **changes}.items() if value}
    if len(merged) > USER_KEYS_MAX:
        raise InvalidInput(reason=f"a drive has at most {USER_KEYS_MAX} user:* keys")
    return merged


def _refuse_recorded(pairs: Mapping[str, str], keys: set[str], present: Record) -> None:
    for key in sorted(keys & pairs.keys()):
        if pairs[key] != str(present.get(key, "")):
            raise InvalidInput(reason=f"{key} cannot be set")


def _checked(pairs: Mapping[str, str]) -> Fields:
    return Fields(
        name=_name(pairs["name"]) if "name" in pairs else None,
        size=_size(pairs["size"]) if "size" in pairs else None,
        claim_type=_word("claim:type", ClaimType, pairs),
        readers=_readers(pairs["readers"]) if "readers" in pairs else None,
        tags=_list("tags", pairs["tags"], TAGS_MAX) if "tags" in pairs else None,
        user_data=dict(
            _user_pair(key, value) for key, value in pairs.items() if key.startswith("user:")
        ),
        cipher=_word("encryption:cipher", Cipher, pairs),
        tier=_line("tier", pairs["tier"], NAME_LENGTH_MAX) if "tier" in pairs else None,
        avoid=_uuids("avoid", pairs.get("avoid", ""), AVOID_MAX),
    )


def _size(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise InvalidInput(reason=f"size: {error}") from error
    if size == 0:
        raise InvalidInput(reason="size must be at least 1 byte")
    return size


def _name(text: str) -> str:
    return _line("name", text, NAME_LENGTH_MAX)


def _line(key: str, text: str, length_max: int) -> str:
    if len(text) > length_max:
        raise InvalidInput(reason=f"{key} is longer than {length_max} characters")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        raise InvalidInput(reason=f"{key} has a control character in it")
    return text


def _word(key: str, words: type[_W], pairs: Mapping[str, str]) -> _W | None:
    if key not in pairs:
        return None
    try:
        return words(pairs[key])
    except ValueError as error:
        choice = " or ".join(words)
        raise InvalidInput(reason=f"{key} must be {choice}") from error


def _list(key: str, text: str, count_max: int) -> tuple[str, ...]:
    items = tuple(_line(key, text, VALUE_LENGTH_MAX * count_max).split())
    if len(items) > count_max:
        raise InvalidInput(reason=f"{key} has more than {count_max} entries")
    if any(len(item) > KEY_LENGTH_MAX for item in items):
        raise InvalidInput(reason=f"an entry of {key} is longer than {KEY_LENGTH_MAX} characters")
    return items


def _uuids(key: str, text: str, count_max: int) -> tuple[UUID, ...]:
    uuids = []
    for item in _list(key, text, count_max):
        try:
            uuids.append(parse_uuid(item))
        except ValueError as error:
            raise InvalidInput(reason=f"{key} takes uuids separated by blanks") from error
    return tuple(uuids)


def _readers(text: str) -> tuple[str, ...]:
    readers = tuple(dict.fromkeys(str(uuid) for uuid in _uuids("readers", text, READERS_MAX)))
    # Everybody includes the others, so they are not kept beside it.
    return (EVERYONE,) if EVERYONE in readers else readers


def _user_pair(key: str, value: str) -> tuple[str, str]:
    name = key.removeprefix("user:")
    if not name:
        raise InvalidInput(reason="user: needs a name after the colon")
    if len(key) > KEY_LENGTH_MAX:
        raise InvalidInput(reason=f"a key is longer than {KEY_LENGTH_MAX} characters")
    _line("a key", name, KEY_LENGTH_MAX)
    if any(c.isspace() for c in name):
        raise InvalidInput(reason="a key has a blank in it")
    if len(value) > VALUE_LENGTH_MAX:
        raise InvalidInput(reason=f"{key} is longer than {VALUE_LENGTH_MAX} characters")
    # Line breaks are kept here, and only here: the text format writes them as the two characters
    # backslash and n, so that no value can forge a line.
    _line(key, value.replace("\n", "").replace("\t", ""), VALUE_LENGTH_MAX)
    return name, value

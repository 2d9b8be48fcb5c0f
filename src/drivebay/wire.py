"""The two data formats of the API, KEY VALUE text and JSON, and the words it answers errors with.

Nothing here does I/O.  The server and the client share it, so it takes bytes from strangers on
both sides: whatever arrives, a parser returns or raises `InvalidInput`.
"""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NoReturn
from uuid import UUID

from drivebay.errors import InvalidInput

Value = str | int
Record = dict[str, str | int]

# A key stands before the first blank of its line, so it cannot hold one; control characters and
# the byte order mark would make two keys look alike.
_KEY = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ufeff]+")

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# 2**64 has 20 digits; no number in the API is longer.
_DIGITS_MAX = 20


class ErrorWord(StrEnum):
    """What `X-Elastic-Error` can say."""

    USAGE = "usage"
    AUTH = "auth"
    BILLING = "billing"
    MISSING = "missing"
    METHOD = "method"
    BUSY = "busy"
    FAILED = "failed"
    SYSTEM = "system"
    FULL = "full"


def parse_text(body: bytes) -> dict[str, str]:
    r"""Return the KEY VALUE lines of *body*; a bare KEY has an empty value.

    Blanks between key and value do not count, nor does a CR at the end of a line.  The two
    characters ``\n`` in a value stand for a newline.  Of equal keys the last one counts.

    Raises:
        InvalidInput: *body* is not UTF-8, or a line has no key that the API could take.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(_decode(body).split("\n"), 1):
        stripped = line.removesuffix("\r")
        if not stripped.strip(" "):
            continue
        key, _, value = stripped.partition(" ")
        if not _KEY.fullmatch(key):
            raise InvalidInput(reason=f"line {number} does not start with a key")
        values[key] = value.lstrip(" ").replace("\\n", "\n")
    return values


def parse_json(body: bytes) -> dict[str, str]:
    """Return the one JSON object in *body* with every value as text; an empty body is ``{}``.

    Strings, integers, booleans (``true``, ``false``) and null (an empty value) are taken.

    Raises:
        InvalidInput: *body* is anything else.
    """
    if not body.strip():
        return {}
    document = _load(body)
    if not isinstance(document, dict):
        raise InvalidInput(reason="the body must be one JSON object")
    return {_checked_key(key): _to_text(key, value) for key, value in document.items()}


def parse_records(body: bytes) -> list[dict[str, str]]:
    """Return the records of a text reply, which blank lines separate.

    Raises:
        InvalidInput: as `parse_text`.
    """
    parts = re.split(rb"\n(?:\r?\n)+", body)
    return [record for record in map(parse_text, parts) if record]


def parse_json_records(body: bytes) -> list[Record]:
    """Return the records of a JSON reply: one object, or an array of them.

    Raises:
        InvalidInput: *body* is anything else, or a value is neither text nor a whole number.
    """
    document = _load(body)
    records: list[Record] = []
    for item in document if isinstance(document, list) else [document]:
        if not isinstance(item, dict):
            raise InvalidInput(reason="the reply must be a JSON object or an array of objects")
        records.append({_checked_key(key): _to_value(key, value) for key, value in item.items()})
    return records


def format_text(records: Sequence[Record]) -> bytes:
    """Return *records* as KEY VALUE lines sorted by key, with a blank line between two records."""
    return "\n".join("".join(_lines(record)) for record in records).encode()


def format_json(record_or_records: Record | Sequence[Record]) -> bytes:
    """Return one record as a JSON object, or several as an array, with sorted keys."""
    return json.dumps(record_or_records, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def parse_uuid(text: str) -> UUID:
    """Return the uuid that *text* is in the one canonical form, lower-case with four dashes.

    Raises:
        ValueError: *text* has another form, also one that `UUID` would take.
    """
    if not _UUID.fullmatch(text):
        raise ValueError("not a uuid in its canonical lower-case form")
    return UUID(text)


def _lines(record: Record) -> list[str]:
    lines = []
    for key in sorted(record):
        value = str(record[key]).replace("\n", "\\n")
        lines.append(f"{key} {value}\n" if value else f"{key}\n")
    return lines


def _decode(body: bytes) -> str:
    try:
        # Editors on Windows put a byte order mark in front; it is not part of the first key.
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(reason=f"the body is not UTF-8 at byte {error.start}") from error


def _load(body: bytes) -> Any:
    try:
        return json.loads(
            _decode(body),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
        )
    except RecursionError as error:
        raise InvalidInput(reason="the JSON body is nested too deeply") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidInput(reason=f"the body is not JSON: {error.msg} at {where}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise InvalidInput(reason="the JSON body has the same key twice")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInput(reason=f"{name} is not a JSON value")


def _bounded_int(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS_MAX:
        raise InvalidInput(reason=f"a number in the JSON body has more than {_DIGITS_MAX} digits")
    return int(digits)


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(_checked_text("a key", key)):
        raise InvalidInput(reason="a key is empty, or holds a blank or a control character")
    return key


def _checked_text(what: str, text: str) -> str:
    # "\ud800" is legal JSON and no text: UTF-8 cannot hold half of a surrogate pair.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(reason=f"{what} holds half of a surrogate pair")
    return text


def _to_text(key: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(_to_value(key, value))


def _to_value(key: str, value: object) -> Value:
    if isinstance(value, str):
        return _checked_text(f"the value of {key}", value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidInput(reason=f"the value of {key} must be text or a whole number")

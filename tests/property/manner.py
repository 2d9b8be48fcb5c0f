"""The many ways of making one call: formats, spellings, slashes, credentials, good and bad."""

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from live import authorization
from property.nouns import User

READING = ("GET", "HEAD", "POST")
CHANGING = ("POST",)

BAD_CREDENTIALS = (
    "none",
    "twice",
    "wrong key",
    "unknown user",
    "dave",
    "bearer",
    "no colon",
    "not base64",
    "not ascii",
    "not utf-8",
    "upper case",
    "name",
    "long",
)

_JSON_TYPES = ("application/json", "application/json; charset=utf-8", "Application/JSON")
_TEXT_TYPES = (
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "nonsense",
    "",
)
_JSON_ACCEPTED = ("application/json", "application/json, text/plain;q=0.5", "APPLICATION/JSON")
_TEXT_ACCEPTED = ("", "*/*", "text/plain", "application/json;q=0, */*", "image/png")


@dataclass(frozen=True)
class Manner:
    """By whom a call is made and how; *dice* decides what makes no difference.

    *who* is `owner` for the drive's, a user's name, or one of the BAD_CREDENTIALS.  *method* is
    empty for one that the call takes.
    """

    who: str = "owner"
    method: str = ""
    json_in: bool = False
    json_out: bool = False
    worker: int = 0
    dice: int = 0

    def rolled(self, salt: str) -> random.Random:
        return random.Random(f"{self.dice} {salt}")

    def method_of(self, allowed: tuple[str, ...]) -> str:
        fitting = [method for method in allowed if method != "HEAD"]
        return self.method or self.rolled("method").choice(fitting)

    def accept(self) -> list[tuple[str, str]]:
        choices = _JSON_ACCEPTED if self.json_out else _TEXT_ACCEPTED
        text = self.rolled("accept").choice(choices)
        return [("Accept", text)] if text else []

    def path(self, path: str) -> str:
        """Return *path* with some slashes doubled, at times, and a query."""
        dice = self.rolled("path")
        if dice.random() < 0.7:
            return path
        parts = [("/" * dice.choice((1, 1, 2, 3))) + part for part in path.split("/")[1:]]
        return "".join(parts) + dice.choice(("", "", "?", "?a=b"))

    def encode(
        self, pairs: Mapping[str, str]
    ) -> tuple[bytes, list[tuple[str, str]], dict[str, str]]:
        """Return a body with *pairs*, its headers, and the pairs that it is to be understood as."""
        dice = self.rolled("body")
        if self.json_in:
            headers = [("Content-Type", dice.choice(_JSON_TYPES))]
            return _json(pairs, dice), headers, dict(pairs)
        kind = dice.choice(_TEXT_TYPES)
        headers = [("Content-Type", kind)] if kind else []
        return _text(pairs, dice), headers, {key: _read(value) for key, value in pairs.items()}

    def body_type(self) -> list[tuple[str, str]]:
        """Return the header for a body in whatever form that `json_in` says."""
        return [("Content-Type", _JSON_TYPES[0] if self.json_in else _TEXT_TYPES[0])]


def _json(pairs: Mapping[str, str], dice: random.Random) -> bytes:
    if not pairs and dice.random() < 0.5:
        return b""
    document: dict[str, object] = dict(pairs)
    for key, value in pairs.items():
        if value.isdecimal() and value.isascii() and str(int(value)) == value:
            document[key] = dice.choice((value, int(value)))
        elif not value:
            document[key] = dice.choice(("", None))
        elif value in {"true", "false"}:
            document[key] = value == "true"
    indent = dice.choice((None, 2))
    return json.dumps(document, indent=indent, ensure_ascii=dice.random() < 0.5).encode()


def _text(pairs: Mapping[str, str], dice: random.Random) -> bytes:
    lines = []
    for key, value in pairs.items():
        if dice.random() < 0.1:
            lines.append(f"{key} the last one counts")
        blanks = dice.choice((" ", " ", "  "))
        written = value.replace("\n", "\\n")
        lines.append(key + (blanks + written if written or dice.random() < 0.5 else ""))
        if dice.random() < 0.1:
            lines.append("")
    newline = dice.choice(("\n", "\n", "\r\n"))
    return (newline.join(lines) + dice.choice((newline, ""))).encode()


def _read(value: str) -> str:
    """Return *value* as the text format brings it over."""
    return value.replace("\n", "\\n").lstrip(" ").replace("\\n", "\n")


def credentials(who: str, user: User, disabled: User, dice: random.Random) -> list[str]:
    """Return the Authorization headers of *user*, spoiled if *who* says so."""
    good = authorization((user.uuid, user.key))
    spoiled = {
        "none": [],
        "twice": [good, good],
        "wrong key": [authorization((user.uuid, user.key[:-1]))],
        "unknown user": [authorization((user.uuid[:-12] + "0" * 12, user.key))],
        "dave": [authorization((disabled.uuid, disabled.key))],
        "bearer": [f"Bearer {user.key}"],
        "no colon": ["Basic " + base64.b64encode(user.uuid.encode()).decode()],
        "not base64": [good + "!"],
        "not ascii": [good + "\xe9"],
        "not utf-8": ["Basic " + base64.b64encode(b"\xff:\xff").decode()],
        "upper case": [authorization((user.uuid.upper(), user.key))],
        "name": [authorization((user.name, user.key))],
        "long": [authorization((user.uuid, user.key * 50))],
    }
    if who in spoiled:
        return spoiled[who]
    return [dice.choice((good, good.replace("Basic", "basic"), good.replace(" ", "  ")))]


def spelled(number: int, dice: random.Random) -> str:
    """Return *number* in one of its spellings: digits, or with k, M, G or T."""
    forms = [str(number), f"0{number}"]
    for power, suffix in enumerate("kMGT", 1):
        if number % 1024**power == 0:
            forms += [
                f"{number // 1024**power}{suffix}",
                f"{number // 1024**power}{suffix.swapcase()}",
            ]
    return dice.choice(forms)

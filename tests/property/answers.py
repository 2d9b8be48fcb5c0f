"""Holds an answer against what the model says it must be."""

import json
import re

from live import Answer
from property.fields import Refused
from property.nouns import Record, Reply

_IN_PLACE = re.compile(r"(\d+) bytes (?:from offset \d+ )?are in place")

_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def in_place(answer: Answer) -> int:
    """Return how many bytes an error says are in place."""
    found = _IN_PLACE.search(answer.text) if answer.status >= 400 else None
    return int(found[1]) if found else 0


def drive_of(answer: Answer, *, is_json: bool) -> str:
    """Return the drive whose record an answer is, or "" where it is none."""
    return value_of(answer, "drive", is_json=is_json)


def value_of(answer: Answer, key: str, *, is_json: bool) -> str:
    """Return the value in the record that an answer is, or "" where it has none."""
    if answer.status != 200 or not answer.body:
        return ""
    if is_json:
        return json.loads(answer.body).get(key, "")
    found = re.search(f"^{key} (.*)$", answer.text, re.MULTILINE)
    return found[1] if found else ""


def require_error(answer: Answer, refused: Refused, *, is_head: bool) -> None:
    """Require the error *refused*, told as errors are."""
    headers = answer.headers
    found = (answer.status, headers.get("x-elastic-error"))
    assert found == (refused.status, refused.word), answer
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert is_head or re.fullmatch(r"[^\n]{3,1000}\n", answer.text), answer
    assert ("www-authenticate" in headers) == (answer.status == 401)
    assert ("allow" in headers) == (answer.status == 405)
    assert "internal error" not in answer.text
    assert in_place(answer) == refused.in_place, answer


def require_reply(answer: Answer, reply: Reply, *, is_json: bool, is_head: bool) -> None:
    """Require success with exactly what *reply* says, in the format that was asked for."""
    headers = answer.headers
    assert answer.status == (204 if reply.shape == "nothing" else 200), answer
    assert "x-elastic-error" not in headers
    if reply.shape == "nothing":
        assert answer.body == b""
        return
    if reply.shape == "bytes":
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-length"] == str(len(reply.value))
        assert is_head or answer.body == reply.value, "other bytes than the model's"
        return
    if is_json:
        assert headers["content-type"] == "application/json"
        assert is_head or _parsed(answer.body) == _as_json(reply)
        return
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["x-elastic-output"] == ("list" if reply.shape == "uuids" else "properties")
    assert is_head or answer.text == _as_text(reply)


def _parsed(body: bytes) -> object:
    """Return the document, with its keys as they come, so that a key which comes twice is seen."""
    return json.loads(body, object_pairs_hook=sorted)


def _as_json(reply: Reply) -> object:
    match reply.shape:
        case "uuids":
            return [[("drive", uuid), ("uuid", uuid)] for uuid in reply.value]
        case "records":
            return [sorted(record.items()) for record in reply.value]
        case _:
            return sorted(reply.value.items())


def _as_text(reply: Reply) -> str:
    match reply.shape:
        case "uuids":
            return "".join(f"{uuid}\n" for uuid in reply.value)
        case "records":
            return "\n".join(map(_lines, reply.value))
        case _:
            return _lines(reply.value)


def _lines(record: Record) -> str:
    lines = []
    for key, value in sorted(record.items()):
        text = str(value).replace("\n", "\\n")
        lines.append(f"{key} {text}\n" if text else f"{key}\n")
    return "".join(lines)


def anonymous(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return the answer with every uuid in it blotted out."""
    blotted = _UUID.sub("UUID", answer.text)
    return answer.status, answer.headers, blotted.encode()

"""Answers in the two formats of the API: text/plain, and JSON where `Accept` asks for it."""

from collections.abc import Sequence
from uuid import UUID

from starlette.datastructures import Headers
from starlette.responses import Response

from drivebay import wire
from drivebay.wire import Record


def wants_json(headers: Headers) -> bool:
    """Whether `Accept` prefers JSON; text is the default, also for `*/*` and unknown types."""
    best, best_quality = "text/plain", 0.0
    for item in ",".join(headers.getlist("accept")).split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = _quality(parameters)
        if media in {"application/json", "text/plain", "text/*", "*/*"} and quality > best_quality:
            best, best_quality = media, quality
    return best == "application/json"


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def one(headers: Headers, record: Record) -> Response:
    """Return the answer with one drive's record."""
    if wants_json(headers):
        return _json(wire.format_json(record))
    return _text(wire.format_text([record]), "properties")


def many(headers: Headers, records: Sequence[Record]) -> Response:
    """Return the answer with the records of any number of drives."""
    if wants_json(headers):
        return _json(wire.format_json(list(records)))
    return _text(wire.format_text(records), "properties")


def uuids(headers: Headers, drives: Sequence[UUID]) -> Response:
    """Return the answer of a list call.

    In JSON each drive stands under both names that clients look for.
    """
    if wants_json(headers):
        return _json(wire.format_json([{"drive": str(d), "uuid": str(d)} for d in drives]))
    return _text("".join(f"{drive}\n" for drive in drives).encode(), "list")


def nothing() -> Response:
    """Return 204."""
    return Response(status_code=204)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _text(body: bytes, output: str) -> Response:
    return Response(body, headers={"X-Elastic-Output": output}, media_type="text/plain")

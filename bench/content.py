"""The bytes that are moved: known, so that they can be checked afterwards."""

import hashlib
import http.client
import random
from collections.abc import Iterable
from pathlib import Path

from bench.contest import BenchFailed

MIB = 1 << 20
PIECE = 4 * MIB
SECTOR = 4096
STAMP_BYTES = 8


def stamped(path: Path, size: int) -> Path:
    """Write *size* bytes of noise whose every sector begins with its number: nothing repeats."""
    noise = bytearray(random.Random(1).randbytes(min(size, 64 * MIB)))  # noqa: S311 - no secret
    with path.open("wb") as file:
        for start in range(0, size, len(noise)):
            for at in range(0, len(noise), SECTOR):
                number = (start + at) // SECTOR
                noise[at : at + STAMP_BYTES] = number.to_bytes(STAMP_BYTES, "little")
            file.write(memoryview(noise)[: size - start])
    return path


def pieces(size: int, length: int = PIECE) -> list[tuple[int, int]]:
    """Return the ranges of *length* bytes that *size* bytes consist of."""
    return [(offset, min(length, size - offset)) for offset in range(0, size, length)]


def digest(parts: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of the parts one after the other."""
    seen = hashlib.sha256()
    for part in parts:
        seen.update(part)
    return seen.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def http_parts(port: int, head: dict[str, str], paths: Iterable[str]) -> Iterable[bytes]:
    """Return the bodies behind *paths*, read one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        for path in paths:
            connection.request("GET", path, headers=head)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status not in {200, 206}:
                raise BenchFailed(f"{path} cannot be read back: {answer.status}")
            yield body
    finally:
        connection.close()


def require_same(found: str, expected: str, what: str) -> str:
    """Return a sentence that says that *what* is right.

    Raises:
        BenchFailed: it is not.
    """
    if found != expected:
        raise BenchFailed(f"{what}: these are not the bytes that were sent")
    return f"{what}: SHA-256 as sent"

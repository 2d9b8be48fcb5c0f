"""The bytes that are moved: known, so that they can be checked afterwards."""

import hashlib
import http.client
import itertools
import os
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.contest import BenchFailed

MIB = 1 << 20
PIECE = 4 * MIB
RUN = 64 * 1024
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


def disk_like(path: Path, size: int) -> Path:
    """Write *size* bytes that deflate as a system's disk does, taken from this machine's files.

    Each 4 MiB are a quarter zeros, 35 % machine code, 20 % text and 20 % noise, mixed in runs of
    64 KiB.
    """
    chance = random.Random(2)  # noqa: S311 - no secret
    kinds = "0" * 16 + "c" * 22 + "t" * 13 + "n" * 13
    sources = {"c": _runs(_machine_code()), "t": _runs(_text())}
    with path.open("wb") as file:
        for _ in range(size // PIECE):
            for kind in chance.sample(kinds, len(kinds)):
                if kind in sources:
                    file.write(next(sources[kind]))
                else:
                    file.write(bytes(RUN) if kind == "0" else chance.randbytes(RUN))
    return path


def _runs(paths: Sequence[Path]) -> Iterator[bytes]:
    """Return runs of the files' content, from the start again where it ends."""
    for path in itertools.cycle(paths):
        with path.open("rb") as file:
            while len(part := file.read(RUN)) == RUN:
                yield part


def _machine_code() -> list[Path]:
    """Return the machine's larger programs and libraries."""
    folders = ("/usr/bin", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/sbin")
    paths = sorted(path for folder in folders for path in Path(folder).glob("*"))
    return [path for path in paths if _is_large(path) and _head(path) == b"\x7fELF"]


def _text() -> list[Path]:
    """Return the Python library's larger sources."""
    return [path for path in sorted(Path(os.__file__).parent.rglob("*.py")) if _is_large(path)]


def _is_large(path: Path) -> bool:
    return path.is_file() and path.stat().st_size >= RUN and os.access(path, os.R_OK)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


@dataclass(frozen=True)
class Deflated:
    """The pieces of *plain*, each as a gzip stream of its own, one behind the other in *path*."""

    plain: Path
    path: Path
    spans: list[tuple[int, int]]

    @classmethod
    def make(cls, plain: Path, path: Path) -> "Deflated":
        """Compress the file *plain* as `gzip -6` does."""
        whole = plain.read_bytes()
        with ThreadPoolExecutor() as pool, path.open("wb") as file:
            spans = []
            for stream in pool.map(gzipped, map(whole.__getitem__, _slices(len(whole)))):
                spans.append((file.tell(), file.tell() + len(stream)))
                file.write(stream)
        return cls(plain, path, spans)

    def split(self, folder: Path) -> list[Path]:
        """Write each stream to a file of its own."""
        folder.mkdir()
        whole = self.path.read_bytes()
        paths = []
        for index, (start, end) in enumerate(self.spans):
            paths.append(folder / f"{index:06}.gz")
            paths[-1].write_bytes(whole[start:end])
        return paths


def _slices(size: int) -> list[slice]:
    return [slice(offset, offset + length) for offset, length in pieces(size)]


def gzipped(data: bytes) -> bytes:
    """Return *data* as one gzip stream of level 6."""
    return zlib.compress(data, level=6, wbits=31)


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


def file_parts(path: Path) -> Iterator[bytes]:
    """Return a file's bytes in pieces of 4 MiB."""
    with path.open("rb") as file:
        while part := file.read(PIECE):
            yield part


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

"""What the suites are run over: a store, and what stands over its volumes."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import pytest

from drivebay.storage.crypt import (
    CryptVolume,
    NativeCipher,
    PortableCipher,
    SectorCipher,
    implementations,
    inner_size,
)
from drivebay.storage.volume import Extent, Store, Volume

KEY = bytes(range(64))
SECTOR = 4096

# Every cipher that this machine can run; one that stands for what is missing is skipped.
NATIVE = [
    pytest.param(partial(NativeCipher, implementation=name), id=name) for name in implementations()
] or [
    pytest.param(
        NativeCipher, id="native", marks=pytest.mark.skip("no native cipher is built here")
    )
]
CIPHERS = [pytest.param(PortableCipher, id="portable"), *NATIVE]


@dataclass(frozen=True)
class Kept:
    """A volume as it lies in its store; every `open` gives another object of it."""

    stack: "Stack"
    uuid: UUID
    size: int

    def open(self, size: int | None = None) -> Volume:
        """Open it; *size* is what it was resized to."""
        return self.stack.open(self.uuid, self.size if size is None else size)


@dataclass(frozen=True)
class Stack:
    """Volumes as the service opens them: those of a store, encrypted where there is a cipher."""

    store: Store
    cipher: Callable[[bytes], SectorCipher] | None = None

    def make(self, size: int) -> Kept:
        """Make a volume of zeros."""
        uuid = uuid4()
        self.store.create(uuid, size if self.cipher is None else inner_size(size))
        return Kept(self, uuid, size)

    def open(self, uuid: UUID, size: int) -> Volume:
        """Open a volume of *size* bytes."""
        stored = self.store.open(uuid)
        return stored if self.cipher is None else CryptVolume(stored, self.cipher(KEY), size)


def pattern(length: int, seed: int = 1) -> bytes:
    """Return bytes without a sector of zeros, always the same."""
    return random.Random(seed).randbytes(length)


def writable(data: bytes) -> memoryview:
    """Return a copy that a volume may change."""
    return memoryview(bytearray(data))


def read(volume: Volume, offset: int = 0, length: int | None = None) -> bytes:
    """Return the range's bytes, into a buffer that was full of something else."""
    wanted = volume.size - offset if length is None else length
    buffer = bytearray(b"\xee" * wanted)
    volume.pread(offset, memoryview(buffer))
    return bytes(buffer)


def holes(volume: Volume, offset: int = 0, length: int | None = None) -> list[Extent]:
    """Return the holes of the range, having seen that its extents cover it exactly."""
    wanted = volume.size - offset if length is None else length
    found = list(volume.extents(offset, wanted))
    at = offset
    for extent in found:
        assert extent.offset == at, "a gap or an overlap"
        assert extent.length > 0, "an empty extent"
        at = extent.end
    assert at == offset + wanted, "extents end elsewhere than the range"
    return [extent for extent in found if not extent.is_data]

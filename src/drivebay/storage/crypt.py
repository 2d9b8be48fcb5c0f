"""Encryption at rest: a volume over another one, AES-256-XTS in dm-crypt's layout.

Sectors of 4096 bytes; the tweak is the sector's number, 64 bits little-endian, in units of 4096
(`aes-xts-plain64` with `iv_large_sectors`).  A sector of zeros is stored as zeros, so holes stay
holes; every other one as ciphertext.  The stored volume is as long as the drive, rounded up to a
sector; behind the drive's end the last sector is zeros in plain.
"""

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from drivebay.errors import StorageFailed
from drivebay.storage.volume import Decode, Extent, Volume, decoded
from drivebay.storage.zeros import SECTOR
from drivebay.units import MIB, round_up

_ZEROS = bytes(SECTOR)

_PIECE = 1 * MIB


def inner_size(size: int) -> int:
    """Return how long the stored volume of a drive of *size* bytes is."""
    return round_up(size, SECTOR)


class SectorCipher(Protocol):
    """Ciphers whole sectors in place; sectors of zeros stay as they are.

    Threads may share one and use it at the same moment.
    """

    def encrypt(self, first: int, data: memoryview) -> None:
        """Encrypt *data*, the sectors from number *first* on."""

    def decrypt(self, first: int, data: memoryview) -> None:
        """Decrypt *data*, the sectors from number *first* on."""


class PortableCipher:
    """Sector by sector through `cryptography`: needs no compiler, and is several times slower."""

    def __init__(self, key: bytes) -> None:
        """Use *key*, 64 bytes: two AES-256 keys."""
        self._algorithm = AES(key)

    def encrypt(self, first: int, data: memoryview) -> None:
        for index, sector in enumerate(_sectors(data), start=first):
            if sector != _ZEROS:
                encryptor = self._at(index).encryptor()
                encryptor.update_into(sector, sector)

    def decrypt(self, first: int, data: memoryview) -> None:
        for index, sector in enumerate(_sectors(data), start=first):
            if sector != _ZEROS:
                decryptor = self._at(index).decryptor()
                decryptor.update_into(sector, sector)

    def _at(self, sector: int) -> Cipher[XTS]:
        return Cipher(self._algorithm, XTS(sector.to_bytes(16, "little")))


def _sectors(data: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(data), SECTOR):
        yield data[at : at + SECTOR]


class NativeCipher:
    """The loops of `xts.c`, over a key that is expanded once.

    Nothing in it changes once it is made, so threads may share one and use it at the same moment.
    """

    def __init__(self, key: bytes, implementation: str | None = None) -> None:
        """Use *key*, 64 bytes, with the implementation of that name, or else the fastest.

        Raises:
            LookupError: no such one was built, or this machine cannot run it.
        """
        assert len(key) == 64, "a key that is not two AES-256 keys"
        library = native()
        name = implementation or next(iter(implementations()), None)
        if library is None or name is None:
            raise LookupError("the native cipher is not built")
        self.expanded = (ctypes.c_char * library.held.drivebay_xts_size())()
        """The key as the shared object's calls take it."""
        if library.held.drivebay_xts_make(self.expanded, name.encode(), key) != 0:
            raise LookupError(f"the cipher {name} cannot be run here")
        self._run_held = library.held.drivebay_xts_run
        self._run = library.released.drivebay_xts_run

    def encrypt(self, first: int, data: memoryview) -> None:
        self._cipher(1, first, data)

    def decrypt(self, first: int, data: memoryview) -> None:
        self._cipher(0, first, data)

    def _cipher(self, encrypt: int, first: int, data: memoryview) -> None:
        sectors = len(data) // SECTOR
        if sectors == 0:
            return
        run = self._run_held if sectors <= _HELD_SECTORS_MAX else self._run
        # Plain ints and arrays, which ctypes passes without being told types, at half the price;
        # ints as 32 bits, so the number goes in halves.  The array of one byte is where data starts.
        start = _Start.from_buffer(data)
        if run(self.expanded, encrypt, first & _LOW, first >> 32, start, sectors) != 0:
            raise StorageFailed(operation="encrypt" if encrypt else "decrypt")


_Start = ctypes.c_char * 1
_LOW = 2**32 - 1

# 16 KiB: 1 to 4 us of work.  To let go of the interpreter's lock for so little, and wait to have it
# back, costs more than it gives to other threads; from 64 KiB on it is the other way round.
_HELD_SECTORS_MAX = 4


class Library(NamedTuple):
    """The shared object: calls that keep the interpreter's lock, and calls that release it."""

    held: ctypes.PyDLL
    released: ctypes.CDLL


@cache
def native() -> Library | None:
    """Return the shared object, if it was built and this machine can use it."""
    for built in sorted(Path(__file__).parent.glob("_xts*.so")):
        try:
            library = Library(ctypes.PyDLL(str(built)), ctypes.CDLL(str(built)))
            library.held.drivebay_xts_name.restype = ctypes.c_char_p
            _ = library.held.drivebay_read_pieces
        except (OSError, AttributeError):
            continue  # Built for another machine, or from another version's source.
        if library.held.drivebay_xts_name(0) is not None:
            return library
    return None


def implementations() -> Iterator[str]:
    """Yield what `NativeCipher` can be made of on this machine, the fastest first."""
    library = native()
    if library is None:
        return
    for index in count():
        name = library.held.drivebay_xts_name(index)
        if name is None:
            return
        yield name.decode()


def is_native() -> bool:
    """Whether drives are encrypted by a native loop."""
    return native() is not None


def sector_cipher(key: bytes) -> SectorCipher:
    """Return the fastest cipher that this machine has; threads may share it."""
    return PortableCipher(key) if native() is None else NativeCipher(key)


class CryptVolume:
    """A volume of *size* bytes, stored encrypted in another; see `Volume` for what calls promise."""

    def __init__(self, inner: Volume, cipher: SectorCipher, size: int) -> None:
        """Take over *inner*, which is closed with this one.

        It is as long as `inner_size` says, or longer after a resize that was cut short.
        """
        assert inner.size >= inner_size(size), "the stored volume is too short"
        self._inner = inner
        self._cipher = cipher
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    @property
    def stored(self) -> Volume:
        """The volume that the encrypted bytes are in."""
        return self._inner

    @property
    def cipher(self) -> SectorCipher:
        """What they are encrypted with."""
        return self._cipher

    def pread(self, offset: int, buffer: memoryview) -> None:
        start, end = self._widened(offset, len(buffer))
        if start == offset and end == offset + len(buffer):
            self._load(start, buffer)
            return
        whole = memoryview(bytearray(end - start))
        self._load(start, whole)
        buffer[:] = whole[offset - start : offset - start + len(buffer)]

    def pread_now(self, offset: int, buffer: memoryview) -> bool:
        start, end = self._widened(offset, len(buffer))
        if start == offset and end == offset + len(buffer):
            if not self._inner.pread_now(start, buffer):
                return False
            self._cipher.decrypt(start // SECTOR, buffer)
            return True
        return self.fetch_now(offset, buffer) is not None  # At the edges it is decoded at once.

    def fetch_now(self, offset: int, buffer: memoryview) -> Decode | None:
        start, end = self._widened(offset, len(buffer))
        if start == offset and end == offset + len(buffer):
            return self._decode(start, buffer) if self._inner.pread_now(start, buffer) else None
        whole = memoryview(bytearray(end - start))
        if not self._inner.pread_now(start, whole):
            return None
        self._cipher.decrypt(start // SECTOR, whole)
        buffer[:] = whole[offset - start : offset - start + len(buffer)]
        return decoded

    def _decode(self, offset: int, buffer: memoryview) -> Decode:
        cipher = self._cipher

        def decode(start: int, end: int) -> None:
            cipher.decrypt((offset + start) // SECTOR, buffer[start:end])

        return decode

    def pwrite(self, offset: int, data: memoryview) -> None:
        widened = self._widened(offset, len(data))
        end = offset + len(data)
        if widened == (offset, end) and len(data) <= _PIECE and not data.readonly:
            self._cipher.encrypt(offset // SECTOR, data)
            self._inner.pwrite(offset, data)
            return
        # The edges first: they are copies, while the middle is encrypted where it is.
        first, last = min(round_up(offset, SECTOR), end), end // SECTOR * SECTOR
        if offset < first:
            self._patch(offset, data[: first - offset])
        if max(first, last) < end:
            last = max(first, last)
            self._patch(last, data[last - offset :])
        if first < last:
            middle = data[first - offset : last - offset]
            self._save(first, memoryview(bytearray(middle)) if middle.readonly else middle)

    def zero(self, offset: int, length: int) -> None:
        self._widened(offset, length)
        end = offset + length
        first, last = min(round_up(offset, SECTOR), end), end // SECTOR * SECTOR
        if offset < first:
            self._patch(offset, memoryview(bytes(first - offset)))
        if first < last:
            self._inner.zero(first, last - first)
        if max(first, last) < end:
            self._patch(max(first, last), memoryview(bytes(end - max(first, last))))

    def reserve(self, offset: int, length: int) -> None:
        start, end = self._widened(offset, length)
        self._inner.reserve(start, end - start)

    def share(self, source: Volume, offset: int, length: int) -> bool:
        # No two drives have one key.
        del source
        self._widened(offset, length)
        return False

    def flush(self) -> None:
        self._inner.flush()

    def resize(self, size: int) -> None:
        # What stands behind the new end, and behind the old one if an earlier resize was cut
        # short, must not come back when the drive grows.
        self._clear_behind(min(size, self._size))
        self._inner.resize(inner_size(min(size, self._size)))
        self._inner.resize(inner_size(size))
        self._size = size

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        start, end = self._widened(offset, length)
        for extent in self._inner.extents(start, end - start):
            first, last = max(extent.offset, offset), min(extent.end, offset + length)
            if first < last:
                yield Extent(first, last - first, extent.is_data)

    def allocated(self) -> int:
        return self._inner.allocated()

    def locked(
        self, offset: int, length: int, *, shared: bool, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        start, end = self._widened(offset, length)
        return self._inner.locked(start, end - start, shared=shared, wait_s=wait_s)

    def locked_whole(
        self, *, shared: bool, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        return self._inner.locked_whole(shared=shared, wait_s=wait_s)

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _widened(self, offset: int, length: int) -> tuple[int, int]:
        """Return start and end of the sectors that the range touches."""
        assert offset >= 0, "an offset below zero"
        assert 0 <= length <= self._size - offset, "a range past the volume's end"
        if length == 0:
            return offset, offset
        return offset // SECTOR * SECTOR, round_up(offset + length, SECTOR)

    def _load(self, offset: int, buffer: memoryview) -> None:
        self._inner.pread(offset, buffer)
        self._cipher.decrypt(offset // SECTOR, buffer)

    def _save(self, offset: int, data: memoryview) -> None:
        # In pieces, so that a disk has the first while the next is encrypted.
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            self._cipher.encrypt((offset + at) // SECTOR, piece)
            self._inner.pwrite(offset + at, piece)

    def _patch(self, offset: int, data: memoryview) -> None:
        """Write *data* into the one sector that it lies in."""
        start = offset // SECTOR * SECTOR
        sector = memoryview(bytearray(SECTOR))
        self._load(start, sector)
        sector[offset - start : offset - start + len(data)] = data
        self._save(start, sector)

    def _clear_behind(self, end: int) -> None:
        behind = inner_size(end) - end
        if behind:
            self._patch(end, memoryview(bytes(behind)))
            self._inner.flush()

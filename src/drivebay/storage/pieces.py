"""Small reads and writes of one volume, many of them in one native call where that is possible.

Most of a small operation's time is in the steps between the system calls: a lock, a look at the
catalog's counter, a read, a cipher, for each of which Python makes objects.  `pieces.c` takes them
all together for the usual case: whole sectors, in a file, with the native cipher, a lock that is
free, nothing committed.  It stops where something is unusual, and who called it goes on from there
with what `Volume` offers; it decides nothing and reports no error.
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from drivebay.storage.crypt import CryptVolume, NativeCipher, native
from drivebay.storage.file import FileVolume
from drivebay.storage.volume import Volume
from drivebay.storage.zeros import SECTOR

Piece = tuple[int, int, int]
"""A range of a volume, offset and length, and where in a buffer its bytes are or go.

A plain tuple: it is made for every request.
"""


class Counter(NamedTuple):
    """Four bytes of a file, in network order, which change when what a caller knows may not hold."""

    descriptor: int
    at: int


class _Volume(ctypes.Structure):
    """`struct volume` of pieces.c."""

    _fields_ = (
        ("key", ctypes.c_void_p),
        ("buffer", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("file", ctypes.c_int32),
        ("flags", ctypes.c_int32),
        ("counter_file", ctypes.c_int32),
        ("counter_at", ctypes.c_uint32),
    )


_PIECE = struct.Struct("=QII")

# Up to here a call keeps the interpreter's lock: to give it back and take it again costs more.
_HELD_MAX = 4


class NativePieces:
    """Reads and writes between one volume and one buffer."""

    def __init__(
        self,
        file: FileVolume,
        cipher: NativeCipher | None,
        counter: Counter,
        buffer: memoryview,
        *,
        longest: int,
    ) -> None:
        """Work on *file*, which stays open; no piece is longer than *longest*.

        Raises:
            LookupError: there is no native library.
        """
        library = native()
        if library is None:
            raise LookupError("the native library is not built")
        self._kept = (
            (ctypes.c_char * len(buffer)).from_buffer(buffer),
            (ctypes.c_char * longest)(),
            cipher,
        )
        place, scratch, _ = self._kept
        self._volume = ctypes.byref(
            _Volume(
                key=None if cipher is None else ctypes.addressof(cipher.expanded),
                buffer=ctypes.addressof(place),
                scratch=ctypes.addressof(scratch),
                file=file.descriptor,
                flags=0 if file.is_memory else os.RWF_NOWAIT,
                counter_file=counter.descriptor,
                counter_at=counter.at,
            )
        )
        self._read_held = library.held.drivebay_read_pieces
        self._read = library.released.drivebay_read_pieces
        self._write = library.released.drivebay_write_pieces

    def read(self, expected: int, pieces: Sequence[Piece]) -> int:
        """Fill pieces in order while nothing is unusual; return how many were filled.

        *expected* is what the counter has to be.
        """
        count = len(pieces)
        packed = _packed(pieces)
        if packed is None:
            return 0
        run = self._read_held if count <= _HELD_MAX else self._read
        return int(run(self._volume, expected, packed, count))

    def write(self, expected: int, pieces: Sequence[Piece]) -> int:
        """Write pieces in order while nothing is unusual; return how many were written."""
        packed = _packed(pieces)
        if packed is None:
            return 0
        return int(self._write(self._volume, expected, packed, len(pieces)))


def _packed(pieces: Sequence[Piece]) -> bytes | None:
    """Return `struct piece` of each, or None where one is not whole sectors."""
    packed = b""
    for offset, length, at in pieces:
        if (offset | length) % SECTOR:
            return None
        packed += _PIECE.pack(offset, length, at)
    return packed


def native_pieces(
    volume: Volume, counter: Counter | None, buffer: memoryview, *, longest: int
) -> NativePieces | None:
    """Return native steps between *volume* and *buffer*, where there are any for such a volume."""
    stored, cipher = volume, None
    if isinstance(volume, CryptVolume):
        if not isinstance(volume.cipher, NativeCipher):
            return None
        stored, cipher = volume.stored, volume.cipher
    if counter is None or not isinstance(stored, FileVolume) or native() is None:
        return None
    return NativePieces(stored, cipher, counter, buffer, longest=longest)

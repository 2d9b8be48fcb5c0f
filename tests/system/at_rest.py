"""Reading a data folder from the outside, with nothing of drivebay's own: keys and XTS anew.

AES-256 comes from `cryptography`, one block at a time; the tweaks are IEEE 1619's.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

SECTOR = 4096
BLOCK = 16


def wrapped_key(catalog: Path, drive: str) -> bytes:
    """Return the drive's key as the catalog keeps it."""
    with closing(sqlite3.connect(catalog)) as database:
        query = "SELECT wrapped_key FROM drives WHERE uuid = ?"
        (wrapped,) = database.execute(query, [drive]).fetchone()
    return wrapped


def data_key(master_key_file: Path, wrapped: bytes, drive: str) -> bytes:
    """Unwrap a drive's key: AES-256-GCM, the nonce in front, the drive's uuid bound in."""
    label, digits = master_key_file.read_text().split()
    assert label == "drivebay-master-key-1"
    bound = b"drivebay-data-key-1:" + UUID(drive).bytes
    return AESGCM(bytes.fromhex(digits)).decrypt(wrapped[:12], wrapped[12:], bound)


def decrypted(key: bytes, stored: bytes, *, first: int = 0) -> bytes:
    """Return *stored*, the sectors from number *first* on, in plain; zeros are zeros there too."""
    data, tweak = (Cipher(AES(half), ECB()) for half in (key[:32], key[32:]))
    plain = []
    for at in range(0, len(stored), SECTOR):
        sector = stored[at : at + SECTOR]
        if any(sector):
            number = (first + at // SECTOR).to_bytes(BLOCK, "little")
            mask = _masks(tweak.encryptor().update(number))
            sector = _xored(data.decryptor().update(_xored(sector, mask)), mask)
        plain.append(sector)
    return b"".join(plain)


def _masks(first: bytes) -> bytes:
    """Return the tweak of each block of a sector: doubled from one to the next in GF(2^128)."""
    tweak = int.from_bytes(first, "little")
    masks = []
    for _ in range(SECTOR // BLOCK):
        masks.append(tweak.to_bytes(BLOCK, "little"))
        tweak <<= 1
        if tweak >> 128:
            tweak ^= (1 << 128) | 0x87
    return b"".join(masks)


def _xored(one: bytes, other: bytes) -> bytes:
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")

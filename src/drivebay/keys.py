"""Keys: the master key's file, the data keys that it wraps, users' API keys and claims' tickets.

A data key is 64 random bytes, two AES-256 keys for XTS.  It is wrapped by AES-256-GCM with the
drive's uuid as associated data, so that the wrapped key of one drive opens no other.
"""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivebay.errors import DriveFaulted, SetupFailed

DATA_KEY_BYTES = 64
_MASTER_KEY_BYTES = 32
_NONCE_BYTES = 12

_FORMAT = "drivebay-master-key-1"
_WRAP_LABEL = b"drivebay-data-key-1:"
_FINGERPRINT_LABEL = b"drivebay-master-key-fingerprint-1"


class MasterKey:
    """The key that wraps every drive's key; it never leaves the object."""

    def __init__(self, key: bytes) -> None:
        """Use *key*, 32 bytes."""
        assert len(key) == _MASTER_KEY_BYTES
        self._cipher = AESGCM(key)
        self.fingerprint = hmac.digest(key, _FINGERPRINT_LABEL, "sha256")[:16].hex()
        """Tells master keys apart and reveals nothing about them."""

    @classmethod
    def load(cls, path: Path) -> "MasterKey":
        """Read the key from its file.

        Raises:
            SetupFailed: the file cannot be read, is open to others, or holds no master key.
        """
        try:
            # Without waiting, should it be a pipe.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SetupFailed(
                reason=f"the master key {path} cannot be read: {error.strerror}",
                hint="name its file with --master-key; without it no drive can be opened",
            ) from error
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise SetupFailed(reason=f"the master key {path} is not a file")
            if mode & 0o077:
                raise SetupFailed(
                    reason=f"the master key {path} may be read by others",
                    hint=f"chmod 600 {path}",
                )
            words = os.read(fd, 256).split()
        finally:
            os.close(fd)
        try:
            label, digits = (word.decode("ascii") for word in words)
            key = bytes.fromhex(digits)
        except ValueError as error:
            raise SetupFailed(reason=f"{path} does not hold a master key") from error
        if label != _FORMAT or len(key) != _MASTER_KEY_BYTES:
            raise SetupFailed(reason=f"{path} does not hold a master key")
        return cls(key)

    @classmethod
    def create(cls, path: Path) -> "MasterKey":
        """Make a new key and its file, durably; of several that try, one makes it and all load it.

        Raises:
            SetupFailed: the file cannot be made.
        """
        line = f"{_FORMAT} {secrets.token_hex(_MASTER_KEY_BYTES)}\n"
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "w", encoding="ascii") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(fd)
                # A link never replaces a key that is there.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
        except OSError as error:
            raise SetupFailed(
                reason=f"the master key {path} cannot be made: {error.strerror}"
            ) from error
        return cls.load(path)

    def make_data_key(self, drive: UUID) -> tuple[bytes, bytes]:
        """Return a new key for *drive*, plain and wrapped."""
        key = secrets.token_bytes(DATA_KEY_BYTES)
        return key, self.wrap(key, drive)

    def wrap(self, key: bytes, drive: UUID) -> bytes:
        """Return *key*, bound to *drive*, as only `unwrap` can read it."""
        # Random nonces under one key are sound for 2**32 wraps (NIST SP 800-38D, 8.3).
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, _WRAP_LABEL + drive.bytes)

    def unwrap(self, wrapped: bytes, drive: UUID) -> bytes:
        """Return the key that `wrap` was given.

        Raises:
            DriveFaulted: *wrapped* was changed, or is another drive's or another master key's.
        """
        nonce, text = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            key = self._cipher.decrypt(nonce, text, _WRAP_LABEL + drive.bytes)
        except (InvalidTag, ValueError) as error:
            raise DriveFaulted(drive=drive, reason="its key cannot be unwrapped") from error
        if len(key) != DATA_KEY_BYTES:
            raise DriveFaulted(drive=drive, reason="its key has a wrong length")
        return key


def make_api_key() -> str:
    """Return a new API key: 256 random bits in URL-safe characters."""
    return secrets.token_urlsafe(32)


def hash_api_key(pepper: bytes, key: str) -> bytes:
    """Return what is kept of an API key.

    The key is random, so a fast keyed hash is as strong as a slow one; *pepper* keeps a copy of
    the hashes alone from proving a guess.
    """
    return hashlib.blake2b(key.encode(), key=pepper, digest_size=32).digest()


def make_ticket() -> str:
    """Return a new claim's ticket: as an API key."""
    return make_api_key()


def hash_ticket(pepper: bytes, ticket: str) -> bytes:
    """Return what is kept of a ticket; no API key has the same."""
    return hashlib.blake2b(
        ticket.encode(), key=pepper, digest_size=32, person=b"claim ticket"
    ).digest()


def api_key_matches(pepper: bytes, key: str, expected: bytes) -> bool:
    """Whether *expected* is the hash of *key*, in constant time."""
    return hmac.compare_digest(hash_api_key(pepper, key), expected)

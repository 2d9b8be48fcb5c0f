"""What the rules work with: the catalog, the stores, the master key, the locks, the counters."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from uuid import UUID

from drivebay.catalog import Catalog, Rows
from drivebay.errors import DriveFaulted, StorageFailed
from drivebay.keys import MasterKey
from drivebay.model import Cipher, Drive
from drivebay.service.counters import Counters
from drivebay.storage import crypt
from drivebay.storage.crypt import SectorCipher
from drivebay.storage.volume import Store, Volume

_KEYS_KEPT = 4096


class DataKeys:
    """Drives' ciphers, made of their unwrapped data keys; the latest used are kept in memory."""

    def __init__(self, master: MasterKey) -> None:
        """Unwrap with *master*."""
        self.master = master
        self._kept: OrderedDict[tuple[UUID, bytes], SectorCipher] = OrderedDict()
        self._lock = Lock()

    def cipher_of(self, drive: Drive) -> SectorCipher:
        """Return the cipher with the data key of an encrypted drive.

        Raises:
            DriveFaulted: the catalog has no key for it, or not one of this master key.
        """
        if drive.wrapped_key is None:
            raise DriveFaulted(drive=drive.uuid, reason="its key is missing from the catalog")
        name = (drive.uuid, drive.wrapped_key)
        with self._lock:
            if (cipher := self._kept.get(name)) is not None:
                self._kept.move_to_end(name)
                return cipher
        cipher = crypt.sector_cipher(self.master.unwrap(drive.wrapped_key, drive.uuid))
        with self._lock:
            self._kept[name] = cipher
            if len(self._kept) > _KEYS_KEPT:
                self._kept.popitem(last=False)
        return cipher


@dataclass(frozen=True)
class Context:
    """One process's hold on the service's parts.

    *rows* are those of *catalog*; *wake_imaging* tells the job worker that there may be work;
    *export_uri* returns the NBD URI of what a ticket opens; *end_sessions* waits for the end of
    the connections of claims, and returns whether they have ended.
    """

    catalog: Catalog
    rows: Rows
    stores: Mapping[str, Store]
    keys: DataKeys
    counters: Counters
    wake_imaging: Callable[[], None] = field(default=lambda: None)
    export_uri: Callable[[str], str] = field(default=lambda ticket: f"nbd:///{ticket}")
    end_sessions: Callable[[Iterable[int]], bool] = field(default=lambda _: True)

    def store_of(self, drive: Drive) -> Store:
        """Return the drive's store.

        Raises:
            StorageFailed: the configuration does not name it, or it is unreachable.
        """
        store = self.stores.get(drive.store)
        if store is None or not store.is_reachable():
            raise StorageFailed(operation=f"reach store {drive.store}")
        return store

    def open_stored(self, drive: Drive, *, now: bool = False) -> Volume:
        """Open the drive's bytes as they are stored; the caller closes them.

        Raises:
            StorageFailed: the store or the volume cannot be reached.
            WouldWait: as `Store.open`.
        """
        return self.store_of(drive).open(drive.uuid, now=now)

    def open_volume(self, drive: Drive, *, now: bool = False) -> Volume:
        """Open the drive's bytes, decrypted where the drive is encrypted; the caller closes them.

        Raises:
            DriveFaulted: the drive's key cannot be had.
            StorageFailed, WouldWait: as `open_stored`.
        """
        cipher = None if drive.cipher is Cipher.NONE else self.keys.cipher_of(drive)
        stored = self.open_stored(drive, now=now)
        if stored.size < stored_size(drive.size, drive.cipher):
            stored.close()
            raise StorageFailed(operation="find the whole volume")
        return stored if cipher is None else crypt.CryptVolume(stored, cipher, drive.size)


def stored_size(size: int, cipher: Cipher) -> int:
    """Return how long the stored volume of a drive of *size* bytes is."""
    return size if cipher is Cipher.NONE else crypt.inner_size(size)

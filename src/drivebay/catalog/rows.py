"""Rows of the catalog, kept in memory for as long as nobody has committed anything.

Most requests find the row that the request before them found.  To ask the catalog whether anything
has changed costs a hundredth of reading a row from it, and the answer holds over all processes.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar
from uuid import UUID

from drivebay.catalog import drives as drive_rows
from drivebay.catalog import users as user_rows
from drivebay.catalog.engine import Catalog, Transaction
from drivebay.model import Drive, User

_KEPT_MAX = 4096

T = TypeVar("T")


class Rows:
    """The present rows of drives and users, from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        """Read from *catalog*."""
        self._drives = _Kept(catalog, drive_rows.get)
        self._users = _Kept(catalog, user_rows.get)

    def drive(self, uuid: UUID) -> Drive | None:
        """Return the drive, in whatever state, as it is at a moment during the call."""
        return self._drives.get(uuid)

    def user(self, uuid: UUID) -> User | None:
        """Return the user, disabled or not, as it is at a moment during the call."""
        return self._users.get(uuid)

    def kept_drive(self, uuid: UUID) -> Drive | None:
        """Return what `drive` would, or None where that would take a transaction."""
        return self._drives.kept(uuid)

    def recent_drive(self, uuid: UUID) -> Drive | None:
        """Return the drive as it was some time ago, or None: good for a guess that is checked."""
        return self._drives.recent(uuid)

    def kept_user(self, uuid: UUID) -> User | None:
        """Return what `user` would, or None where that would take a transaction."""
        return self._users.kept(uuid)


class _Kept(Generic[T]):
    """The latest used rows of one kind, each with the catalog's version that it was read at."""

    def __init__(self, catalog: Catalog, read: Callable[[Transaction, UUID], T | None]) -> None:
        self._catalog = catalog
        self._read = read
        self._rows: OrderedDict[UUID, tuple[int, T]] = OrderedDict()
        self._lock = Lock()

    def kept(self, uuid: UUID) -> T | None:
        found = self._rows.get(uuid)
        if found is None or found[0] != self._catalog.version():
            return None
        with suppress(KeyError):  # Another thread may have put it out meanwhile.
            self._rows.move_to_end(uuid)
        return found[1]

    def recent(self, uuid: UUID) -> T | None:
        found = self._rows.get(uuid)
        return None if found is None else found[1]

    def get(self, uuid: UUID) -> T | None:
        row = self.kept(uuid)
        if row is not None:
            return row
        with self._catalog.read() as tx:
            row = self._read(tx, uuid)
            # Nobody can commit while this transaction is open, so the two belong together.
            version = self._catalog.version()
        if row is not None and version is not None:
            with self._lock:
                self._rows[uuid] = (version, row)
                if len(self._rows) > _KEPT_MAX:
                    self._rows.popitem(last=False)
        return row

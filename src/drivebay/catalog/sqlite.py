"""What is SQLite's alone: its connections, the making of its file, the check of its soundness."""

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from drivebay.errors import CatalogFailed, SetupFailed

BUSY_TIMEOUT_S = 30.0
"""How long a transaction waits for those of other processes."""

_CHANGE_COUNTER_AT = 24

_PRAGMAS = (
    # A rollback journal: SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections
    # write and checkpoint at the same moment.  TRUNCATE leaves no old page in the journal file.
    "PRAGMA journal_mode = TRUNCATE",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # What is deleted, such as the wrapped key of a destroyed drive, is overwritten with zeros.
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
)


def url_of(path: Path) -> str:
    """Return the URL that names *path*, whatever characters it is made of."""
    return f"sqlite:///{quote(str(path))}"


def path_of(url: URL) -> Path:
    """Return the file that *url* names.

    Raises:
        SetupFailed: it names none; a catalog in memory would not be one for all processes.
    """
    if not url.database or url.database == ":memory:":
        raise SetupFailed(reason="the catalog's URL names no file")
    return Path(url.database).absolute()


def connector(path: Path) -> Callable[[], sqlite3.Connection]:
    """Return what opens a connection to the database file *path*, which must exist."""
    # Opening must not make a file: a catalog that vanished is not an empty catalog.
    uri = f"file:{quote(str(path))}?mode=rw"

    def connect() -> sqlite3.Connection:
        # `isolation_level=None` keeps Python's driver from beginning transactions of its own;
        # the pool hands a connection to one thread at a time.
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


class ChangeCounter:
    """The counter in the database's header that every commit changes (file format, 1.3.7).

    SQLite itself tells by it, in rollback-journal mode, whether another process has changed what it
    has in its cache.  It is written before a commit counts, so whoever finds the number that he
    noted inside a transaction knows that nothing has been committed since.
    """

    def __init__(self, path: Path) -> None:
        """Read from *path*, which is opened at the first read."""
        self._path = path
        self._fd = -1
        self._lock = threading.Lock()

    def read(self) -> int:
        """Return the number.

        Raises:
            CatalogFailed: the file cannot be read.
        """
        try:
            if self._fd < 0:
                self._open()
            return int.from_bytes(os.pread(self._fd, 4, _CHANGE_COUNTER_AT))
        except OSError as error:
            raise CatalogFailed from error

    @property
    def place(self) -> tuple[int, int]:
        """The descriptor, once `read` was called, and where in the file the number is."""
        return self._fd, _CHANGE_COUNTER_AT

    def close(self) -> None:
        """Close the file.

        The process loses its locks on the database by it, so no transaction may be open.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        with self._lock:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)


def make_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the database file *path* with what *fill* puts into it, unless it exists.

    The file appears whole or not at all, so one that is empty later was damaged.  It is made with
    mode 0600 and never opened under its own name: closing any descriptor of a database file drops
    all of the process's locks on it.
    """
    if path.exists():
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".catalog-", dir=path.parent) as folder:
            made = Path(folder) / "new"
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            fill(made)
            try:
                os.link(made, path)
            except FileExistsError:
                return  # Another process was first.
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise SetupFailed(reason=f"the catalog {path} cannot be made: {error.strerror}") from error


def check(tx: Connection, path: Path) -> None:
    """Read the whole database and see that it is sound.

    Raises:
        SetupFailed: it is not.
    """
    hint = "stop drivebay, keep a copy of the file, and restore the latest backup"
    if path.stat().st_size == 0:
        raise SetupFailed(reason=f"the catalog {path} is empty: it was damaged", hint=hint)
    found = tx.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise SetupFailed(reason=f"the catalog {path} is corrupt: {found}", hint=hint)

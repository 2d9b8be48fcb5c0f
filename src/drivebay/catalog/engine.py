"""The catalog's database: connections, transactions and the state of its schema."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from drivebay.catalog import migrations, sqlite
from drivebay.errors import CatalogFailed, SetupFailed

Transaction = Connection
"""What the queries take first: a transaction that `Catalog.read` or `Catalog.write` began."""

CONNECTIONS_MAX = 40
"""How many transactions one process may have open at once; one more waits for its turn."""

_WAIT_S_MAX = sqlite.BUSY_TIMEOUT_S

# After these the kernel may have dropped what it was to write, and a later success proves nothing.
_FSYNC_FAILURES = {
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_CLOSE,
}


class Catalog:
    """The metadata database, from any number of threads.

    Connections are opened when first needed and are not for use over a fork: a process makes its
    own Catalog, or forks before the first transaction or after `close`.

    Keep transactions short.  On SQLite a reader holds up every commit, and a writer everybody.
    """

    def __init__(self, url: str) -> None:
        """Name the database, such as ``sqlite:////data/catalog.sqlite``; nothing is opened yet.

        Raises:
            SetupFailed: *url* is malformed or names no file.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise SetupFailed(reason="the catalog's URL is malformed") from error
        self._path: Path | None = None
        self._changes: sqlite.ChangeCounter | None = None
        self._turn = _Turn()
        self._has_lost_a_flush = False
        pool: dict[str, Any] = {
            "poolclass": QueuePool,
            "pool_size": CONNECTIONS_MAX,
            "max_overflow": 0,
            "pool_timeout": _WAIT_S_MAX,
            # The connection used last has the warmest cache.
            "pool_use_lifo": True,
        }
        self._reader: Engine
        self._writer: Engine
        if parsed.get_backend_name() == "sqlite":
            self._path = sqlite.path_of(parsed)
            self._changes = sqlite.ChangeCounter(self._path)
            self._engine = create_engine("sqlite://", creator=sqlite.connector(self._path), **pool)
            event.listen(self._engine, "begin", _begin)
            self._reader = self._engine
            self._writer = self._engine.execution_options(drivebay_begin="BEGIN IMMEDIATE")
        else:
            self._engine = create_engine(parsed, pool_pre_ping=True, **pool)
            self._reader = self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._writer = self._engine

    def migrate(self) -> None:
        """Make the database where there is none, check it, and bring its tables up to date.

        Safe to run twice, and beside other processes that do.

        Raises:
            SetupFailed: the database is corrupt, cannot be reached or is newer than this program.
        """
        try:
            if self._path is not None:
                sqlite.make_file(self._path, _make)
                with self.read() as tx:
                    sqlite.check(tx, self._path)
            with self.read() as tx:
                is_current = migrations.is_current(tx)
            if not is_current:
                with self.write() as tx:
                    migrations.upgrade(tx)
        except CatalogFailed as error:
            where = "" if self._path is None else f" {self._path}"
            reason = f"the catalog{where} cannot be used: {_sentence(error.__cause__)}"
            raise SetupFailed(reason=reason) from error

    @contextmanager
    def read(self) -> Generator[Connection]:
        """Read in a transaction that sees one moment and takes no write lock.

        Raises:
            CatalogFailed: the database answered with an error.
        """
        try:
            with self._reader.begin() as tx:
                yield tx
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise CatalogFailed from error

    @contextmanager
    def write(self) -> Generator[Connection]:
        """Read and write in a transaction: committed and durable at the end, or nothing of it.

        On SQLite nobody else writes meanwhile.  An exception inside rolls back and goes on.

        Raises:
            CatalogFailed: the database answered with an error.
        """
        try:
            with self._turn_to_write(), self._writer.begin() as tx:
                yield tx
        except (SQLAlchemyError, sqlite3.Error) as error:
            origin = getattr(error, "orig", error)
            if getattr(origin, "sqlite_errorcode", None) in _FSYNC_FAILURES:
                self._has_lost_a_flush = True
            raise CatalogFailed from error

    def version(self) -> int | None:
        """Return a number that every commit of any process changes; None where there is none.

        What was read in a transaction that saw the same number is still so.  It costs less than a
        microsecond.

        Raises:
            CatalogFailed: the database cannot be read.
        """
        return None if self._changes is None else self._changes.read()

    def change_counter(self) -> tuple[int, int] | None:
        """Return the descriptor and the place of what `version` reads, 4 bytes in network order.

        It is open until `close`.  None where there is no such thing.

        Raises:
            CatalogFailed: the database cannot be read.
        """
        if self._changes is None:
            return None
        self._changes.read()
        return self._changes.place

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()
        if self._changes is not None:
            self._changes.close()

    def _turn_to_write(self) -> AbstractContextManager[None]:
        if self._has_lost_a_flush:
            failed = CatalogFailed()
            failed.add_note("a flush failed earlier: no changes until the process is restarted")
            raise failed
        return nullcontext() if self._path is None else self._turn


class _Turn:
    """Lets the threads of one process write in turn, without SQLite's sleeping retries."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0

    def __enter__(self) -> None:
        assert self._holder != threading.get_ident(), "a write transaction inside another"
        if not self._lock.acquire(timeout=_WAIT_S_MAX):
            failed = CatalogFailed()
            failed.add_note(f"another thread has been writing for {_WAIT_S_MAX} seconds")
            raise failed
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = 0
        self._lock.release()


def _begin(connection: Connection) -> None:
    # SQLAlchemy's recipe says `exec_driver_sql`, which costs four times as much.
    begin = connection.get_execution_options().get("drivebay_begin", "BEGIN")
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.execute(begin)


def _make(path: Path) -> None:
    catalog = Catalog(sqlite.url_of(path))
    try:
        with catalog.write() as tx:
            migrations.upgrade(tx)
    finally:
        catalog.close()


def _sentence(cause: BaseException | None) -> str:
    return str(getattr(cause, "orig", cause))

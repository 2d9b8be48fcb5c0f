"""A data folder: its lock, its identity, and the context that a process works with in it.

DATA/
  lock                who serves this folder holds it, children included
  catalog.sqlite      drives, users, jobs, facts
  counters/           one file a process
  sessions/           one file a process that serves claims: which ones it serves now
  nbd.sock            where claimed drives are offered, unless the configuration names another place
  stores/default/     volumes, unless the configuration names other stores
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from drivebay.catalog import Catalog, Rows, facts, sqlite_url
from drivebay.errors import SetupFailed
from drivebay.keys import MasterKey
from drivebay.service import sessions
from drivebay.service.accounts import PEPPER_FACT
from drivebay.service.context import Context, DataKeys
from drivebay.service.counters import Counters
from drivebay.settings import Settings, StoreSettings
from drivebay.storage.file import FileStore

SESSIONS = "sessions"
"""Where `drivebay.service.sessions` keeps its files."""

_IDENTITY = "identity"
_KEY_FINGERPRINT = "master-key-fingerprint"
_FIRST_START = "first-start"
_STORE = "store:"


def catalog_of(data: Path) -> Catalog:
    """Return the catalog of the folder, which `prepare` has set up."""
    return Catalog(sqlite_url(data / "catalog.sqlite"))


def hold(data: Path) -> int:
    """Return a descriptor that holds the folder until it and its copies in children are closed.

    Raises:
        SetupFailed: another process serves the folder.
    """
    fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise SetupFailed(
            reason=f"another drivebay serves the data folder {data}",
            hint="stop it first, or give another folder with --data",
        ) from error
    return fd


def prepare(data: Path) -> None:
    """Make the folder and its catalog where they do not exist; safe beside a running service.

    Raises:
        SetupFailed: the folder cannot be made or holds a catalog that cannot be used.
    """
    try:
        for name in ("counters", SESSIONS):
            (data / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
    except OSError as error:
        raise SetupFailed(reason=f"the data folder {data} cannot be made: {error}") from error
    catalog = catalog_of(data)
    try:
        catalog.migrate()
        with catalog.write() as tx:
            for fact, size in ((_IDENTITY, 16), (PEPPER_FACT, 32)):
                if facts.get(tx, fact) is None:
                    facts.put(tx, fact, secrets.token_hex(size))
    finally:
        catalog.close()


def is_first_start(catalog: Catalog) -> bool:
    """Whether nobody has served the folder yet."""
    with catalog.read() as tx:
        return facts.get(tx, _FIRST_START) is None


def end_first_start(catalog: Catalog) -> None:
    """Record that the folder has been served."""
    with catalog.write() as tx:
        facts.put(tx, _FIRST_START, "done")


def master_key(settings: Settings, catalog: Catalog) -> tuple[MasterKey, bool]:
    """Return the master key, and whether it was made now.

    A folder that has known a key is never given another one.

    Raises:
        SetupFailed: the file is missing, unsound, or holds another key than the folder's.
    """
    path = settings.master_key
    if path.resolve().is_relative_to(settings.data.resolve()):
        raise SetupFailed(
            reason=f"the master key {path} would lie inside the data folder",
            hint="keep it elsewhere, so that a copy of the folder alone reveals nothing",
        )
    with catalog.read() as tx:
        expected = facts.get(tx, _KEY_FINGERPRINT)
    made = expected is None and not path.exists()
    key = MasterKey.create(path) if made else MasterKey.load(path)
    if expected is None:
        with catalog.write() as tx:
            facts.put(tx, _KEY_FINGERPRINT, key.fingerprint)
    elif key.fingerprint != expected:
        raise SetupFailed(
            reason=f"{path} is not the master key of the data folder {settings.data}",
            hint="name the right file with --master-key; nothing was changed",
        )
    return key, made


def stores_of(settings: Settings, catalog: Catalog) -> dict[str, FileStore]:
    """Return the configured stores by name, setting up those that were never seen.

    A store that was set up once and now lacks its marker stays unreachable: its disk may not be
    mounted, and an empty folder in its place must not be taken for it.
    """
    with catalog.read() as tx:
        identity = facts.get(tx, _IDENTITY) or ""
        known = {s.name for s in settings.store_list() if facts.get(tx, _STORE + s.name)}
    stores = {}
    for entry in settings.store_list():
        stores[entry.name] = _store(entry, identity, first=entry.name not in known)
    with catalog.write() as tx:
        for name in stores.keys() - known:
            facts.put(tx, _STORE + name, "set up")
    return stores


def _store(entry: StoreSettings, identity: str, *, first: bool) -> FileStore:
    store = FileStore(entry.name, entry.domain, entry.path)
    store.prepare(identity, first=first)
    return store


def make_counter_files(data: Path, writers: Iterable[str]) -> None:
    """Make the counter files of *writers*, all of them before the first process opens any."""
    for name in writers:
        (data / "counters" / name).touch(mode=0o600)


def context(
    settings: Settings,
    key: MasterKey,
    *,
    writer: str,
    wake_imaging: Callable[[], None] = lambda: None,
    export_uri: Callable[[str], str] = lambda ticket: f"nbd:///{ticket}",
) -> Context:
    """Return what the process *writer* works with; call it after the last fork."""
    catalog = catalog_of(settings.data)
    counters = settings.data / "counters"
    return Context(
        catalog=catalog,
        rows=Rows(catalog),
        stores=stores_of(settings, catalog),
        keys=DataKeys(key),
        counters=Counters(counters, writer, sorted(entry.name for entry in counters.iterdir())),
        wake_imaging=wake_imaging,
        export_uri=export_uri,
        end_sessions=partial(sessions.end, settings.data / SESSIONS),
    )

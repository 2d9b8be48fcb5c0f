"""The real service in one process: two HTTP workers and the imaging runners over one data folder.

Everything is the service's own, save the sockets, and how much room a store says it has.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import uvicorn
from uvicorn.server import ServerState

from drivebay import folder
from drivebay.catalog import Rows, Transaction
from drivebay.catalog import jobs as job_rows
from drivebay.catalog import users as user_rows
from drivebay.http.app import App
from drivebay.http.connection import Connection
from drivebay.http.now import NowAnswers
from drivebay.http.streams import Streams
from drivebay.keys import MasterKey
from drivebay.service import access, accounts, drives, exports
from drivebay.service.context import Context, DataKeys
from drivebay.service.counters import Counters
from drivebay.service.recovery import recover
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore
from drivebay.storage.volume import Store
from live import Answer
from property.asgi import Clock, Request, call, converse
from property.nouns import Record, User
from property.stepper import Stepper

STORES = {"one": "left", "two": "left", "three": "right"}
"""Each store's failure domain: two of them share one."""

WORKERS = 2
RUNNERS = 2
_COUNTER_FILES = [*(f"http-{index}" for index in range(WORKERS)), "jobs"]
_DISABLED = "dave"


class SteadyFileStore(FileStore):
    """Has room as its number of volumes says, where the disk's changes with everybody's files."""

    def free(self) -> int:
        return 2**50 - 2**30 * sum(1 for _ in self.volumes())

    def end(self) -> None:
        """Close what is kept open, as the end of a process does."""
        self._idle.close()


@dataclass(frozen=True)
class Template:
    """A data folder that is set up, with users; every history begins with a copy."""

    data: Path
    users: list[User]

    @classmethod
    def make(cls, base: Path) -> "Template":
        data = base / "data"
        folder.prepare(data)
        folder.make_counter_files(data, _COUNTER_FILES)
        for name, domain in STORES.items():
            FileStore(name, domain, data / name).prepare("here", first=True)
        catalog = folder.catalog_of(data)
        users = []
        with catalog.write() as tx:
            for name in ("alice", "bob", "carol", _DISABLED):
                row, key = accounts.add(tx, name, drives=None, size_bytes=None)
                users.append(User(name, str(row.uuid), key, enabled=name != _DISABLED))
                user_rows.change(tx, row.uuid, enabled=name != _DISABLED)
        catalog.close()
        return cls(data, users)


class World:
    """One data folder below *base* and the processes that serve it."""

    def __init__(self, template: Template, base: Path, kind: str) -> None:
        """Serve volumes in files or in memory, as *kind* says."""
        self.kind = kind
        self.owner = template.users[0].uuid
        self.data = base / "data"
        shutil.copytree(template.data, self.data)
        self.stores: dict[str, Store] = {}
        if kind == "memory":
            self.stores = {name: MemoryStore(name, domain) for name, domain in STORES.items()}
        self._loop = Clock()
        self.on_wake: Callable[[], None] = lambda: None
        self.requests = 0
        self._start(without=set())

    def _start(self, *, without: set[str]) -> None:
        self._contexts = [self._context(name, without) for name in _COUNTER_FILES]
        recover(self._contexts[0])
        with self._contexts[0].catalog.write() as tx:
            job_rows.requeue_running(tx)
        self._streams = [Streams(stall_timeout_s=30, transfers_per_user=4) for _ in range(WORKERS)]
        fronts = [self._front(*pair) for pair in zip(self._contexts, self._streams, strict=False)]
        self._apps, self._connects = zip(*fronts, strict=True)
        self.steppers = [Stepper(self._contexts[-1]) for _ in range(RUNNERS)]

    def _front(self, ctx: Context, streams: Streams) -> tuple[App, Callable[[], Connection]]:
        """Return a worker's application, and what makes its connections, as serve.py does."""
        authenticator = accounts.Authenticator(ctx.catalog, ctx.rows)
        app = App(ctx, authenticator, streams)
        answer_now = staticmethod(NowAnswers(ctx, authenticator))
        kind = type("Protocol", (Connection,), {"answer_now": answer_now})
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        state = ServerState()
        return app, lambda: kind(config, state, {}, self._loop)

    def _context(self, writer: str, without: set[str]) -> Context:
        stores = dict(self.stores)
        if self.kind == "file":
            for name, domain in STORES.items():
                store = SteadyFileStore(name, domain, self.data / name)
                store.prepare("here", first=False)
                stores[name] = store
        catalog = folder.catalog_of(self.data)
        return Context(
            catalog=catalog,
            rows=Rows(catalog),
            stores={name: store for name, store in stores.items() if name not in without},
            keys=DataKeys(MasterKey(bytes(range(32)))),
            counters=Counters(self.data / "counters", writer, _COUNTER_FILES),
            wake_imaging=self._wake,
        )

    def _wake(self) -> None:
        self.on_wake()

    def restart(self, *, without: set[str]) -> None:
        """End all processes and start them again, with a configuration *without* some stores."""
        assert not any(stepper.is_at_work for stepper in self.steppers)
        self._end()
        self._start(without=without)

    def _end(self) -> None:
        for streams in self._streams:
            streams.close()
        for ctx in self._contexts:
            ctx.counters.close()
            ctx.catalog.close()
            for store in ctx.stores.values():
                if isinstance(store, SteadyFileStore):
                    store.end()

    def close(self) -> None:
        for stepper in self.steppers:
            if stepper.is_at_work:
                stepper.kill()
        self._end()
        self._loop.close()
        shutil.rmtree(self.data.parent)

    @property
    def workers(self) -> list[Context]:
        """What the HTTP workers work with."""
        return self._contexts[:WORKERS]

    def send(self, worker: int, request: Request) -> Answer:
        """Send one request to one of the workers: to its application, or over a connection.

        What a server refuses by itself, and a caller who does not stay for the answer, take the
        first way.
        """
        self.requests += 1
        is_plain = request.then == "end" and request.head.isascii()
        if is_plain and (worker + request.cuts) % 2:
            return converse(self._loop, self._connects[worker], request)
        return call(self._loop, self._apps[worker], request)

    def operate(self, change: Callable[[Transaction], None]) -> None:
        """Change the catalog beside the running service, as an operator's command does."""
        with self._contexts[-1].catalog.write() as tx:
            change(tx)

    def lose(self, store: str) -> None:
        """Unmount the disk of a store; only files lie on one."""
        (self.data / store).rename(self.data / f"{store}.away")

    def mend(self, store: str) -> None:
        (self.data / f"{store}.away").rename(self.data / store)

    @contextmanager
    def without_catalog(self) -> Iterator[None]:
        """Take the catalog's file away for a while."""
        catalog = self.data / "catalog.sqlite"
        for ctx in self._contexts:
            ctx.catalog.close()
        catalog.rename(self.data / "gone")
        try:
            yield
        finally:
            (self.data / "gone").rename(catalog)

    def record(self, owner: str, drive: str) -> Record:
        """Return the drive's full record as its owner sees it, past HTTP."""
        return drives.info(self._contexts[0], UUID(owner), UUID(drive), full=True)

    def opens(self, ticket: str) -> bool:
        """Whether an NBD client that shows the ticket is let in."""
        return exports.find(self._contexts[1], ticket) is not None

    def peek(self, owner: str, drive: str) -> bytes:
        """Return the drive's bytes, past the rules of the API."""
        ctx = self._contexts[0]
        row = access.owned(ctx.rows.drive(UUID(drive)), UUID(owner), UUID(drive))
        with ctx.open_volume(row) as volume:
            data = bytearray(volume.size)
            volume.pread(0, memoryview(data))
        return bytes(data)

    def stored(self, drive: str, store: str) -> tuple[bytes, int]:
        """Return the bytes that the store keeps of a drive, and how much room they take."""
        with self._contexts[0].stores[store].open(UUID(drive)) as volume:
            data = bytearray(volume.size)
            volume.pread(0, memoryview(data))
            return bytes(data), volume.allocated()

    def volumes(self) -> dict[str, set[str]]:
        """Return the volumes that each store holds."""
        return {
            name: {str(uuid) for uuid in store.volumes()}
            for name, store in self._contexts[0].stores.items()
        }

    def other_files(self) -> Iterator[tuple[Path, bytes]]:
        """Yield the files of the data folder that are no volumes."""
        for path in self.data.rglob("*"):
            if path.is_file() and path.suffix != ".volume":
                yield path, path.read_bytes()

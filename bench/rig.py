"""What the rows measure with: folders in memory and on the disk, and servers that rows share."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

from bench import content
from bench.contest import Pace, Side
from bench.drive import Drive
from bench.load import Job
from bench.loads import transfer
from bench.nbd import Export
from bench.peers.luks import Luks, NbdServer
from bench.peers.nginx import Kind, Nginx
from bench.service import Service

Made = TypeVar("Made")


class Rig(AbstractContextManager["Rig"]):
    """Makes each thing once, when a row first asks for it, and ends all of them together.

    *memory* is a folder on tmpfs, *disk* one on a disk; both are emptied at the end.
    """

    def __init__(self, memory: Path, disk: Path, pace: Pace, size: int) -> None:
        self._stack = ExitStack()
        self._made: dict[Any, Any] = {}
        self._numbers = itertools.count(1)
        self.pace = pace
        self.size = size
        self.cores = len(os.sched_getaffinity(0))
        self.memory = self._scratch(memory)
        self.disk = self._scratch(disk)

    def _scratch(self, parent: Path) -> Path:
        path = Path(tempfile.mkdtemp(prefix="drivebay-bench-", dir=parent))
        self._stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def __exit__(self, *_: object) -> None:
        """End every server, then remove the folders."""
        self._stack.close()

    def once(self, key: object, make: Callable[[], Made]) -> Made:
        """Return what *make* made the first time; a context manager ends with the rig."""
        if key not in self._made:
            made = make()
            if isinstance(made, AbstractContextManager):
                self._stack.callback(made.__exit__, None, None, None)
            self._made[key] = made
        found: Made = self._made[key]
        return found

    def folder(self, name: str, *, on_disk: bool = False) -> Path:
        """Return a new folder's path; the caller makes it."""
        base = self.disk if on_disk else self.memory
        return base / f"{name}-{next(self._numbers)}"

    @property
    def source(self) -> Path:
        """The bytes that are sent, in memory."""
        return self.once("source", lambda: content.stamped(self.memory / "source.raw", self.size))

    @property
    def source_digest(self) -> str:
        """Their SHA-256."""
        return self.once("source digest", lambda: content.file_digest(self.source))

    def service(self, workers: int | None, *, on_disk: bool = False) -> Service:
        """Return drivebay with so many HTTP workers; None is its default."""
        return self.once(
            ("service", workers, on_disk),
            lambda: Service(self.folder("drivebay", on_disk=on_disk), workers),
        )

    def drive(self, workers: int | None, *, is_encrypted: bool = True) -> Drive:
        """Return a drive in memory that holds the source."""
        return self.once(
            ("drive", workers, is_encrypted),
            lambda: self.service(workers).filled(self.source, is_encrypted=is_encrypted),
        )

    def nginx(self, *, workers: int = 1, sendfile: bool = True, tuned: bool = False) -> Nginx:
        """Return nginx as Debian sets it up, or with bodies in memory."""
        return self.once(
            ("nginx", workers, sendfile, tuned),
            lambda: self._nginx(workers=workers, sendfile=sendfile, tuned=tuned),
        )

    def _nginx(self, *, workers: int, sendfile: bool, tuned: bool) -> Nginx:
        bodies = self.folder("bodies", on_disk=not tuned)
        root = self.folder("root")
        root.mkdir()
        (root / "source.raw").hardlink_to(self.source)
        kind = Kind(workers=workers, sendfile=sendfile, bodies=bodies)
        return Nginx(self.folder("nginx"), root, kind)

    def luks(self, name: str) -> Luks:
        """Return an empty LUKS image; all of them have the same keys."""
        empty = self.once("luks", lambda: Luks.make(self.memory / "empty.luks", self.size))
        return empty.copied(self.memory / f"{name}.luks")

    def nbd(self, name: str, words: list[str]) -> Export:
        """Return what the NBD server that *words* start makes of a LUKS image with the source."""

        def serve() -> NbdServer:
            return NbdServer(self.folder(name), self.luks(name).fill(self.source), words)

        return self.once(("nbd", name), serve).export

    def load(self, name: str, job: Job, connections: int, pid: int) -> Side:
        """Return the side that moves the ranges of *job* for the time of a round."""
        return Side(name, lambda seconds: transfer(job, connections, seconds, server_pid=pid))

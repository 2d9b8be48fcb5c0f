"""Download: a drive's bytes into a file that is whole or still called `.part`, or into a pipe."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from drivebay.client.errors import LocalFailed
from drivebay.client.partial import PartialFile
from drivebay.client.pieces import Range, is_zero, ranges
from drivebay.client.session import Session
from drivebay.client.transfer import CONNECTIONS, NoProgress, Progress, results
from drivebay.client.workers import Workers
from drivebay.wire import Record

# What tells that a drive was changed since its record was read.
_CHANGE_KEYS = ("size", "write:requests", "write:bytes")


@dataclass
class Download:
    """The download of the drive whose *record* was just read."""

    session: Session
    record: Record
    connections: int = CONNECTIONS
    progress: Progress = field(default_factory=NoProgress)

    @property
    def drive(self) -> str:
        """The drive's uuid."""
        return str(self.record["drive"])

    @property
    def size(self) -> int:
        """The drive's size in bytes."""
        return int(self.record["size"])

    def to_file(self, target: Path, *, verify: bool = True) -> None:
        """Write the drive into *target*, going on where an earlier run has stopped.

        Raises:
            TransferFailed: a piece failed; the partial file stays for the next run.
            VerificationFailed: the disk returns other bytes than those that were received.
            LocalFailed: the file cannot be written.
        """
        identity = {key: self.record.get(key, "") for key in ("drive", *_CHANGE_KEYS)}
        with PartialFile(target, identity, self.size) as partial:
            self.progress.start("downloading", total=self.size, done=partial.done_bytes)

            def fetch(item: Range) -> bool:
                return partial.write(item, self._read(item))

            with Workers(self.connections) as workers:
                for item, is_hole in results("read", workers.map(fetch, partial.missing())):
                    self.progress.advance(item.length, is_hole=is_hole)
            partial.finish(verify=verify)

    def to_stream(self, fd: int, *, offset: int = 0, length: int | None = None) -> None:
        """Write the drive, or a range of it, to *fd* in order.

        Raises:
            TransferFailed: a piece failed; everything before it was written.
            LocalFailed: *fd* cannot be written, or its reader has gone.
        """
        end = self.size if length is None else offset + length
        self.progress.start("downloading", total=end - offset)
        with Workers(self.connections) as workers:
            for item, data in results("read", workers.map(self._read, ranges(offset, end))):
                _write_all(fd, data)
                self.progress.advance(item.length, is_hole=is_zero(data))

    def was_changed(self) -> bool:
        """Whether the drive was written or resized since its record was read."""
        now = self.session.info(self.drive)
        return any(now.get(key) != self.record.get(key) for key in _CHANGE_KEYS)

    def _read(self, item: Range) -> bytes:
        return self.session.read(self.drive, item.offset, item.length)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise LocalFailed(reason=f"cannot write the output: {error.strerror}") from error

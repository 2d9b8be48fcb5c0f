"""One operation of the service in a process of its own, for a tracer to kill at some step.

`python operations.py DATA MASTER_KEY` reads lines `OPERATION CALLER DRIVE SOURCE`, forks for each,
and says `done` or `killed`.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from drivebay import folder
from drivebay.keys import MasterKey
from drivebay.model import Conversion
from drivebay.service import drives, imaging, transfer
from drivebay.service.context import Context
from drivebay.settings import Settings
from drivebay.storage import copy

SIZE = 5 * 4096 + 777
GROWN, SHRUNK = 7 * 4096 + 5, 2 * 4096 + 1001
WRITTEN_AT = 4000
WRITTEN = b"\x07" * 3000 + bytes(4096) + b"\x09" * 3000
PIECE = 8192


def context(data: Path, master_key: Path, *, writer: str) -> Context:
    """Open the folder, whose counter files must be there."""
    settings = Settings(data=data, master_key=master_key)
    return folder.context(settings, MasterKey.load(master_key), writer=writer)


def create(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    drives.create(ctx, caller, {"size": str(SIZE), "name": "created"})


def rename(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    drives.change(ctx, caller, drive, lambda: {"name": "renamed", "user:also": "this"})


def grow(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    drives.change(ctx, caller, drive, lambda: {"size": str(GROWN)})


def shrink(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    drives.change(ctx, caller, drive, lambda: {"size": str(SHRUNK)})


def destroy(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    drives.destroy(ctx, caller, drive)


def write(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    upload = transfer.Upload(ctx, caller, drive, WRITTEN_AT, length=len(WRITTEN), gzip=False)
    upload.begin()
    upload.feed(memoryview(bytearray(WRITTEN)))
    upload.finish()


def queue(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    imaging.image(ctx, caller, drive, source, Conversion.NONE)


def run(ctx: Context, caller: UUID, drive: UUID, source: UUID) -> None:
    """Copy what is queued, recording every piece."""
    imaging.RECORD_EVERY_S = 0.0
    copy.PIECE = PIECE
    imaging.Runner(ctx).run_next()


Operation = Callable[[Context, UUID, UUID, UUID], None]

OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (create, rename, grow, shrink, destroy, write, queue, run)
}


def main(data: Path, master_key: Path) -> None:
    for line in sys.stdin:
        name, *uuids = line.split()
        pid = os.fork()
        if pid == 0:
            ctx = context(data, master_key, writer="http-0")
            OPERATIONS[name](ctx, *map(UUID, uuids))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        is_killed = os.WIFSIGNALED(status)
        sys.stdout.write("killed\n" if is_killed else f"done {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

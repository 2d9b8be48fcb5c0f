"""kill -9 at each step of each operation: each call that changes a file, one after the other.

strace kills; what is left is looked at after the recovery that every start begins with.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from drivebay import folder
from drivebay.catalog import drives as rows
from drivebay.catalog import jobs as job_rows
from drivebay.model import Conversion
from drivebay.service import accounts, drives, imaging, transfer
from drivebay.service.context import Context, stored_size
from drivebay.service.recovery import recover
from drivebay.settings import Settings
from faults import operations
from faults.load import mixed_sectors
from faults.operations import GROWN, OPERATIONS, SHRUNK, SIZE, WRITTEN, WRITTEN_AT, context
from system.traced import needs_strace

pytestmark = needs_strace

SECONDS = float(os.environ.get("DRIVEBAY_CRASH_SECONDS", "0"))

# How far it is from one tried step to the next; `make crash` tries them all.
STRIDES = {} if SECONDS else {"pwrite64": 9, "fdatasync": 4, "ftruncate": 2}
STEPS_MAX = 200


class Bench:
    """A data folder that operations are killed on, and looked at from here."""

    def __init__(self, base: Path) -> None:
        self.data, self.master_key = base / "data", base / "key"
        folder.prepare(self.data)
        settings = Settings(data=self.data, master_key=self.master_key)
        with closing(folder.catalog_of(self.data)) as catalog:
            folder.master_key(settings, catalog)
            with catalog.write() as tx:
                user, self.key = accounts.add(tx, "owner", drives=None, size_bytes=None)
        self.caller = user.uuid
        folder.make_counter_files(self.data, ["http-0", "bench"])

    @contextmanager
    def opened(self) -> Iterator[Context]:
        """Open the folder anew, as a start does, after the recovery that a start begins with."""
        ctx = context(self.data, self.master_key, writer="bench")
        try:
            recover(ctx)
            yield ctx
        finally:
            ctx.counters.close()
            for store in ctx.stores.values():
                store.close_idle(unused_s=0)
            ctx.catalog.close()

    def make(self, ctx: Context, content: bytes) -> UUID:
        drive = UUID(drives.create(ctx, self.caller, {"size": str(len(content))})["drive"])
        upload = transfer.Upload(ctx, self.caller, drive, 0, length=len(content), gzip=False)
        upload.begin()
        upload.feed(memoryview(bytearray(content)))
        upload.finish()
        return drive

    def content(self, ctx: Context, drive: UUID) -> bytes:
        size = drives.info(ctx, self.caller, drive)["size"]
        assert isinstance(size, int)
        buffer = bytearray(size)
        transfer.read(ctx, self.caller, drive, 0, memoryview(buffer))
        return bytes(buffer)

    def check_folder(self, ctx: Context) -> None:
        """See that catalog and store agree, and that nothing is half done."""
        with ctx.catalog.read() as tx:
            assert rows.unfinished(tx) == []
            present = {row.uuid: stored_size(row.size, row.cipher) for row in rows.all_ready(tx)}
        files = (self.data / "stores/default").glob("*.volume")
        assert {UUID(file.stem): file.stat().st_size for file in files} == present

    def finish_imaging(self, ctx: Context) -> None:
        """Do what a job worker does when it starts."""
        with ctx.catalog.write() as tx:
            job_rows.requeue_running(tx)
        runner = imaging.Runner(ctx)
        while runner.run_next():
            pass


class Killer:
    """A process that forks operations, each of which dies at its *step*-th call of *call*."""

    def __init__(self, bench: Bench, call: str, step: int) -> None:
        program = [sys.executable, operations.__file__, str(bench.data), str(bench.master_key)]
        tracing = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={step}"]
        self._process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", *tracing, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, operation: str, caller: UUID, drive: UUID, source: UUID) -> bool:
        """Run the operation; return whether it came to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{operation} {caller} {drive} {source}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        assert said in {"done 0", "killed"}, f"{operation}: {said!r}"
        return said == "done 0"

    def close(self) -> None:
        self._process.communicate()


BEFORE = b"\x01" * 5000 + bytes(8000) + b"\x02" * (SIZE - 13_000)
SOURCE = b"\x03" * 4096 + bytes(4096) + b"\x04" * (SIZE - 8192 - 9) + bytes(9)

State = tuple[str, dict[str, str], bytes] | None
"""A drive's name, own data and content; None for one that is not there."""

AFTER: dict[str, State] = {
    "rename": ("renamed", {"also": "this"}, BEFORE),
    "grow": ("", {}, BEFORE.ljust(GROWN, b"\0")),
    "shrink": ("", {}, BEFORE[:SHRUNK]),
    "destroy": None,
    "write": ("", {}, BEFORE[:WRITTEN_AT] + WRITTEN + BEFORE[WRITTEN_AT + len(WRITTEN) :]),
    "queue": ("", {}, SOURCE),
    "run": ("", {}, SOURCE),
}


def state_of(bench: Bench, ctx: Context, drive: UUID) -> State:
    with ctx.catalog.read() as tx:
        row = rows.get(tx, drive)
    return row and (row.name, dict(row.user_data), bench.content(ctx, drive))


def hold(bench: Bench, ctx: Context, operation: str, drive: UUID, *, is_done: bool) -> None:
    """See that the operation was done, or, where it may be, that it was not."""
    now, before, after = state_of(bench, ctx, drive), ("", {}, BEFORE), AFTER[operation]
    if is_done or operation == "run":
        # A job that was queued is promised, whether it was begun or not.
        assert now == after
    elif operation == "write" and now is not None and after is not None:
        assert mixed_sectors(now[2], BEFORE, after[2]) == []
    else:
        assert now in {0: before, 1: after}.values()


def attempt(bench: Bench, killer: Killer, operation: str) -> bool:
    """Let one operation be killed, and look at what is left; return whether it came to its end."""
    with bench.opened() as ctx:
        drive, source = bench.make(ctx, BEFORE), bench.make(ctx, SOURCE)
        if operation == "run":
            imaging.image(ctx, bench.caller, drive, source, Conversion.NONE)

    is_done = killer.run(operation, bench.caller, drive, source)

    with bench.opened() as ctx:
        bench.check_folder(ctx)
        bench.finish_imaging(ctx)
        hold(bench, ctx, operation, drive, is_done=is_done)
        for uuid in drives.listed(ctx, bench.caller):
            drives.destroy(ctx, bench.caller, uuid)
    return is_done


def attempt_to_create(bench: Bench, killer: Killer) -> bool:
    """Do as `attempt` for a new drive, which has no uuid to go by."""
    is_done = killer.run("create", bench.caller, bench.caller, bench.caller)

    with bench.opened() as ctx:
        bench.check_folder(ctx)
        made = drives.listed(ctx, bench.caller)
        assert len(made) == 1 if is_done else len(made) <= 1
        for uuid in made:
            assert state_of(bench, ctx, uuid) == ("created", {}, bytes(SIZE))
            drives.destroy(ctx, bench.caller, uuid)
    return is_done


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(
    "call", ["pwrite64", "fdatasync", "ftruncate", "fsync", "fallocate", "unlink"]
)
def test_what_a_kill_leaves_is_what_was_there_or_what_was_asked_for(bench, call):
    left = list(OPERATIONS)

    for step in range(1, STEPS_MAX, STRIDES.get(call, 1)):
        with closing(Killer(bench, call, step)) as killer:
            for operation in tuple(left):
                if operation == "create":
                    is_done = attempt_to_create(bench, killer)
                else:
                    is_done = attempt(bench, killer, operation)
                # It has no such step, so it has no later one either.
                if is_done:
                    left.remove(operation)
        if not left:
            return

    raise AssertionError(f"{left} have more than {STEPS_MAX} steps")

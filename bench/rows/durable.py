"""Durable writes to a disk against dd."""

import json
import os
import time

from bench import content
from bench.contest import BenchFailed, Contest, Side, Table
from bench.drive import Drive
from bench.loads import transfer
from bench.processes import program, run
from bench.rig import Rig
from bench.stats import Sample

TABLE = Table()

SIZE_MAX = 256 * content.MIB
NOTE = (
    "both write the same 256 MiB (128 when quick) to what is new, a drive and a file, and each 4 MiB "
    "are on the disk before they are acknowledged: fdatasync against O_DSYNC; dd has one writer"
)


class Disk:
    """What is written to the disk, anew in each round; the last of each is kept to be verified."""

    def __init__(self, rig: Rig) -> None:
        self.service = rig.service(1, on_disk=True)
        self.size = min(SIZE_MAX, rig.size)
        self.source = rig.once(
            "durable source", lambda: content.stamped(rig.memory / "durable.raw", self.size)
        )
        self.file = rig.disk / "dd.raw"
        self._fio = rig.disk / "fio.raw"
        self._drive: Drive | None = None

    def drive(self, connections: int) -> Sample:
        """Write a new drive."""
        if self._drive:
            self._drive.destroy()
        self._drive = self.service.create(self.size)
        os.sync()
        return transfer(
            self._drive.writes(self.source), connections, None, server_pid=self.service.pid
        )

    def dd(self) -> Sample:
        """Write a new file."""
        self.file.unlink(missing_ok=True)
        os.sync()
        before = time.monotonic()
        run("dd", f"if={self.source}", f"of={self.file}", "bs=4M", "oflag=dsync", "status=none")
        return Sample(self.size / (time.monotonic() - before) / 1e6)

    def fio(self, jobs: int) -> Sample:
        """Write a new file from several sides at once; its own bytes."""
        self._fio.unlink(missing_ok=True)
        os.sync()
        share = self.size // jobs
        found = run(
            *("fio", "--name=durable", f"--filename={self._fio}", "--rw=write", "--bs=4M"),
            *("--sync=dsync", f"--numjobs={jobs}", f"--size={share}", "--fallocate=none"),
            *(f"--offset_increment={share}", "--group_reporting", "--output-format=json"),
        ).stdout
        return Sample(json.loads(found)["jobs"][0]["write"]["bw_bytes"] / 1e6)

    def verify(self) -> str:
        """Compare the last drive and the last file with what was sent."""
        if self._drive is None:
            raise BenchFailed("nothing was written")
        expected = content.file_digest(self.source)
        content.require_same(content.file_digest(self.file), expected, "the file of dd")
        return content.require_same(self._drive.digest(), expected, "the drive and the file of dd")


def _contest(rig: Rig, connections: int) -> Contest:
    disk = rig.once("durable", lambda: Disk(rig))
    fio = Side(f"fio dsync x{connections}", lambda _: disk.fio(connections))
    return Contest(
        Side("drivebay", lambda _: disk.drive(connections)),
        [Side("dd dsync", lambda _: disk.dd())],
        also=[fio] if program("fio") else (),
        verify=disk.verify,
    )


@TABLE.row(
    key="durable-1",
    what="encrypted 4 MiB durable write to disk, 1 connection, one worker",
    against="dd bs=4M oflag=dsync",
    unit="MB/s",
    floor=0.85,
    goal=0.97,
    needs=("dd",),
    uses=("fio",),
    note=NOTE,
)
def durable_1(rig: Rig) -> Contest:
    """One writer."""
    return _contest(rig, 1)


@TABLE.row(
    key="durable-4",
    what="encrypted 4 MiB durable write to disk, 4 connections, one worker",
    against="dd bs=4M oflag=dsync",
    unit="MB/s",
    floor=0.85,
    goal=0.97,
    needs=("dd",),
    uses=("fio",),
    is_quick=True,
    note=NOTE,
)
def durable_4(rig: Rig) -> Contest:
    """Four writers of one drive."""
    return _contest(rig, 4)

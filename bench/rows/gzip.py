"""Bodies that come compressed, against igzip."""

import shutil
import time
from pathlib import Path

from bench import content
from bench.contest import Contest, Side, Table
from bench.loads import transfer
from bench.processes import run
from bench.rig import Rig
from bench.stats import Sample

TABLE = Table()

SHARE = 4
"""Disk-like content is a quarter as large as the rest: compressing it takes its time."""


def deflated(rig: Rig) -> content.Deflated:
    """Return disk-like bytes and their compressed pieces, made once."""

    def make() -> content.Deflated:
        plain = content.disk_like(rig.memory / "disk-like.raw", rig.size // SHARE)
        return content.Deflated.make(plain, rig.memory / "disk-like.pieces")

    return rig.once("deflated", make)


def _igzip(streams: list[Path], size: int) -> Sample:
    before = time.monotonic()
    run("igzip", "-d", "-k", "-f", *map(str, streams))
    return Sample(size / (time.monotonic() - before) / 1e6)


@TABLE.row(
    key="gzip-write",
    what="encrypted write of 4 MiB pieces that come as gzip, to tmpfs, 1 connection, one worker",
    against="igzip -d of the same pieces",
    unit="MB/s",
    floor=0.7,
    goal=0.9,
    needs=("igzip",),
    is_quick=True,
    note="MB of plain bytes; disk-like pieces compressed as by gzip -6; igzip is one process that "
    "writes a file a piece; one connection, so that drivebay too inflates one piece at a time",
)
def gzip_write(rig: Rig) -> Contest:
    """One connection: what is compared is the work of one core."""
    pieces = deflated(rig)
    size = pieces.plain.stat().st_size
    service = rig.service(1)
    drive = service.create(size)
    folder = rig.folder("igzip")
    streams = pieces.split(folder)
    job = drive.deflated_writes(pieces)

    def side(name: str, connections: int) -> Side:
        return Side(name, lambda _: transfer(job, connections, None, server_pid=service.pid))

    def verify() -> str:
        expected = content.file_digest(pieces.plain)
        inflated = content.digest(path.with_suffix("").read_bytes() for path in streams)
        content.require_same(inflated, expected, "the files of igzip")
        found = content.require_same(drive.digest(), expected, "the drive and the files of igzip")
        drive.destroy()
        shutil.rmtree(folder)
        return found

    return Contest(
        side("drivebay", 1),
        [Side("igzip -d", lambda _: _igzip(streams, size))],
        also=[side("drivebay, 4 connections", 4)],
        verify=verify,
    )

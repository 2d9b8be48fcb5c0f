"""Reads and writes of 4 MiB against nginx."""

from dataclasses import replace

from bench import content
from bench.contest import Contest, Table
from bench.drive import Drive
from bench.loads import transfer
from bench.peers.nginx import Nginx
from bench.rig import Rig

TABLE = Table()

CONNECTIONS = 4
SAME_BYTES = "both serve the same bytes from memory, sector numbers in them are checked on the way"


def _reading(rig: Rig, drive: Drive, servers: dict[str, Nginx]) -> Contest:
    def verify() -> str:
        return content.require_same(drive.digest(), rig.source_digest, "the drive read back")

    ours = rig.load("drivebay", drive.reads(is_stamped=True), CONNECTIONS, drive.api.pid)
    peers = [
        rig.load(name, server.reads("source.raw", is_stamped=True), CONNECTIONS, server.pid)
        for name, server in servers.items()
    ]
    return Contest(ours, peers, verify=verify)


def _writing(rig: Rig, drive: Drive, nginx: Nginx) -> Contest:
    def verify() -> str:
        content.require_same(nginx.put_digest(), rig.source_digest, "the files put to nginx")
        return content.require_same(drive.digest(), rig.source_digest, "the drive and nginx' files")

    # Every later PUT replaces a file that is there, as ours overwrites a range.
    job = nginx.writes(rig.source)
    rig.once(("put", nginx), lambda: transfer(replace(job, status=201), CONNECTIONS, None))
    ours = rig.load("drivebay", drive.writes(rig.source), CONNECTIONS, drive.api.pid)
    peer = rig.load("nginx PUT", job, CONNECTIONS, nginx.pid)
    return Contest(ours, [peer], verify=verify)


def _servers(rig: Rig, *, workers: int, tuned: bool) -> dict[str, Nginx]:
    return {
        "nginx sendfile": rig.nginx(workers=workers, tuned=tuned),
        "nginx no sendfile": rig.nginx(workers=workers, sendfile=False, tuned=tuned),
    }


@TABLE.row(
    key="read-encrypted",
    what="encrypted 4 MiB read, 4 connections, one worker",
    against="nginx, plain file",
    unit="MB/s",
    floor=0.75,
    goal=1.1,
    needs=("nginx",),
    is_quick=True,
    note=SAME_BYTES,
)
def read_encrypted(rig: Rig) -> Contest:
    """Reads through the cipher."""
    return _reading(rig, rig.drive(1), _servers(rig, workers=1, tuned=False))


@TABLE.row(
    key="read-plain",
    what="plain 4 MiB read, 4 connections, one worker",
    against="nginx, plain file",
    unit="MB/s",
    floor=0.95,
    goal=1.3,
    needs=("nginx",),
    is_quick=True,
    note=SAME_BYTES,
)
def read_plain(rig: Rig) -> Contest:
    """Reads of a drive without encryption."""
    return _reading(rig, rig.drive(1, is_encrypted=False), _servers(rig, workers=1, tuned=False))


@TABLE.row(
    key="write-encrypted",
    what="encrypted 4 MiB write to tmpfs, 4 connections, one worker",
    against="nginx DAV PUT",
    unit="MB/s",
    floor=1.8,
    goal=3.5,
    needs=("nginx",),
    is_quick=True,
    note="nginx collects a body on the disk, copies it to tmpfs and never flushes; "
    "drivebay flushes, which costs nothing on tmpfs",
)
def write_encrypted(rig: Rig) -> Contest:
    """Writes that overwrite, against files that replace files."""
    return _writing(rig, rig.drive(1), rig.nginx())


@TABLE.row(
    key="tuned-read",
    what="encrypted 4 MiB read, 4 connections, all workers",
    against="tuned nginx, plain file",
    unit="MB/s",
    floor=0.6,
    goal=0.9,
    needs=("nginx",),
    is_quick=True,
    note="nginx with a worker a core; " + SAME_BYTES,
)
def tuned_read(rig: Rig) -> Contest:
    """Reads with all that both have."""
    return _reading(rig, rig.drive(None), _servers(rig, workers=rig.cores, tuned=True))


@TABLE.row(
    key="tuned-write",
    what="encrypted 4 MiB write to tmpfs, 4 connections, all workers",
    against="tuned nginx, DAV PUT",
    unit="MB/s",
    floor=0.5,
    goal=1.0,
    needs=("nginx",),
    is_quick=True,
    note="nginx with a worker a core collects a body on the same tmpfs and renames it, unflushed",
)
def tuned_write(rig: Rig) -> Contest:
    """Writes with all that both have."""
    return _writing(rig, rig.drive(None), rig.nginx(workers=rig.cores, tuned=True))

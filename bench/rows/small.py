"""Small requests by wrk."""

from bench import content, small
from bench.contest import Contest, Side, Table
from bench.drive import Drive
from bench.peers.nginx import Nginx
from bench.rig import Rig

TABLE = Table()

CONNECTIONS = 32
LENGTH = 4096
LAST = f"offset + {LENGTH - 1}"


def _reads(rig: Rig, name: str, drive: Drive) -> Side:
    request = drive.head("GET", f"read/%d/{LENGTH}")
    return _side(rig, name, request, "offset", drive.api.port, drive.api.pid)


def _info(rig: Rig, drive: Drive) -> Side:
    request = drive.head("GET", "info")
    return _side(rig, "drivebay", request, "offset", drive.api.port, drive.api.pid)


def _ranges(rig: Rig, name: str, nginx: Nginx) -> Side:
    request = "GET /source.raw HTTP/1.1\r\nHost: bench\r\nRange: bytes=%d-%d\r\n\r\n"
    return _side(rig, name, request, f"offset, {LAST}", nginx.port, nginx.pid)


def _side(rig: Rig, name: str, request: str, arguments: str, port: int, pid: int) -> Side:
    path = small.script(
        rig.folder("wrk.lua"), request, arguments=arguments, length=LENGTH, size=rig.size
    )
    return Side(name, lambda seconds: small.requests(port, path, CONNECTIONS, seconds, pid=pid))


def _verify(rig: Rig, drive: Drive) -> str:
    return content.require_same(drive.digest(), rig.source_digest, "the drive read back")


@TABLE.row(
    key="small-read",
    what="encrypted 4 KiB reads, 32 connections, all workers",
    against="nginx, plain file",
    unit="requests/s",
    floor=0.25,
    goal=0.5,
    needs=("nginx", "wrk"),
    is_quick=True,
    note="nginx with a worker a core as well; one worker is shown beside it",
)
def small_read(rig: Rig) -> Contest:
    """Random sectors."""
    drive = rig.drive(None)
    many = rig.nginx(workers=rig.cores, sendfile=True, tuned=True)
    return Contest(
        _reads(rig, "drivebay", drive),
        [_ranges(rig, "nginx", many)],
        also=[_ranges(rig, "nginx, one worker", rig.nginx())],
        verify=lambda: _verify(rig, drive),
    )


@TABLE.row(
    key="info",
    what="info of one drive, 32 connections, all workers",
    against="drivebay's own 4 KiB reads",
    unit="requests/s",
    floor=0.8,
    goal=1,
    needs=("wrk",),
    is_quick=True,
)
def info(rig: Rig) -> Contest:
    """Metadata should cost no more than data."""
    drive = rig.drive(None)
    return Contest(
        _info(rig, drive), [_reads(rig, "4 KiB reads", drive)], verify=lambda: _verify(rig, drive)
    )

"""Reads and writes against other servers of disk images: ovirt-imageio, qemu-nbd, nbdkit."""

from pathlib import Path

from bench import content
from bench.contest import Contest, Side, Table
from bench.drive import Drive
from bench.loads import transfer
from bench.nbd import Export
from bench.peers.imageio import Imageio
from bench.peers.luks import NBDKIT, QEMU_NBD
from bench.processes import program
from bench.rig import Rig
from bench.stats import Sample

TABLE = Table()

CONNECTIONS = 4
IMAGEIO_NOTE = (
    "the same client and four connections on both sides; imageio serves a plain file on the same "
    "tmpfs (it asks for O_DIRECT, which tmpfs takes and ignores), without TLS; both flush each write.  "
    "ovirt-img itself needs an oVirt engine"
)
NBD_NOTE = (
    "the whole image once, four connections on both sides: HTTP requests of 4 MiB against nbdcopy "
    "(to null: when reading, --flush when writing) and LUKS as qemu makes it (512-byte sectors)"
)
NBD_NEEDS = ("nbdcopy", "qemu-nbd", "qemu-img")


def _imageio(rig: Rig) -> Imageio:
    def make() -> Imageio:
        image = rig.memory / "imageio.raw"
        image.write_bytes(rig.source.read_bytes())
        return Imageio(rig.folder("imageio"), image)

    return rig.once("imageio", make)


def _whole(drive: Drive, source: Path | None) -> Sample:
    job = drive.writes(source) if source else drive.reads(is_stamped=True)
    return transfer(job, CONNECTIONS, None, server_pid=drive.api.pid)


def _against_imageio(rig: Rig, *, is_write: bool) -> Contest:
    drive, imageio = rig.drive(1), _imageio(rig)

    def verify() -> str:
        found = content.file_digest(imageio.image)
        content.require_same(found, rig.source_digest, "the file of imageio")
        return content.require_same(drive.digest(), rig.source_digest, "the drive and the file")

    ours = drive.writes(rig.source) if is_write else drive.reads(is_stamped=True)
    theirs = imageio.writes(rig.source) if is_write else imageio.reads()
    return Contest(
        rig.load("drivebay", ours, CONNECTIONS, drive.api.pid),
        [rig.load("ovirt-imageio", theirs, CONNECTIONS, imageio.pid)],
        verify=verify,
    )


def _against_nbd(rig: Rig, *, is_write: bool) -> Contest:
    drive = rig.drive(1)
    servers = {"nbdcopy, qemu-nbd LUKS": rig.nbd("qemu-nbd", QEMU_NBD)}
    if program("nbdkit"):
        servers["nbdcopy, nbdkit LUKS"] = rig.nbd("nbdkit", NBDKIT)

    def verify() -> str:
        for name, server in servers.items():
            copy = server.copy_out(rig.memory / "copied.raw")
            content.require_same(content.file_digest(copy), rig.source_digest, name)
            copy.unlink()
        return content.require_same(drive.digest(), rig.source_digest, "the drive and each image")

    def side(name: str, server: Export) -> Side:
        return Side(name, lambda _: server.write(rig.source) if is_write else server.read())

    qemu, *nbdkit = [side(name, server) for name, server in servers.items()]
    ours = Side("drivebay", lambda _: _whole(drive, rig.source if is_write else None))
    return Contest(ours, [qemu], also=nbdkit, verify=verify)


@TABLE.row(
    key="imageio-read",
    what="encrypted 4 MiB read, 4 connections, one worker",
    against="ovirt-imageio, plain file",
    unit="MB/s",
    floor=1.5,
    goal=3,
    needs=("ovirt-imageio",),
    note=IMAGEIO_NOTE,
)
def imageio_read(rig: Rig) -> Contest:
    """Reads."""
    return _against_imageio(rig, is_write=False)


@TABLE.row(
    key="imageio-write",
    what="encrypted 4 MiB write, 4 connections, one worker",
    against="ovirt-imageio, plain file",
    unit="MB/s",
    floor=1.5,
    goal=3,
    needs=("ovirt-imageio",),
    note=IMAGEIO_NOTE,
)
def imageio_write(rig: Rig) -> Contest:
    """Writes."""
    return _against_imageio(rig, is_write=True)


@TABLE.row(
    key="nbd-read",
    what="encrypted read of the whole image, 4 connections, one worker",
    against="nbdcopy, qemu-nbd LUKS",
    unit="MB/s",
    floor=1.5,
    goal=3,
    needs=NBD_NEEDS,
    uses=("nbdkit",),
    note=NBD_NOTE,
)
def nbd_read(rig: Rig) -> Contest:
    """Reads."""
    return _against_nbd(rig, is_write=False)


@TABLE.row(
    key="nbd-write",
    what="encrypted write of the whole image, 4 connections, one worker",
    against="nbdcopy, qemu-nbd LUKS",
    unit="MB/s",
    floor=1.5,
    goal=3,
    needs=NBD_NEEDS,
    uses=("nbdkit",),
    note=NBD_NOTE,
)
def nbd_write(rig: Rig) -> Contest:
    """Writes."""
    return _against_nbd(rig, is_write=True)

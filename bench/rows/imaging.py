"""Copies of whole drives on tmpfs, against the programs that copy and convert files."""

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from bench import content
from bench.contest import Contest, Side, Table
from bench.drive import Drive
from bench.loads import transfer
from bench.processes import run
from bench.rig import Rig
from bench.rows.gzip import deflated
from bench.stats import Sample

TABLE = Table()

SPREAD_OVER = 8
"""A sparse drive is so many times as large as its data."""


class Copies:
    """Drives that *source* is imaged onto, each new; the last one is kept to be verified."""

    def __init__(
        self, rig: Rig, source: Drive, *, size: int, is_encrypted: bool, conversion: str = ""
    ) -> None:
        self._service = rig.service(None)
        self._source = source
        self._size = size
        self._is_encrypted = is_encrypted
        self._conversion = conversion
        self.last: Drive | None = None

    def image(self, data_bytes: int) -> Sample:
        """Image onto a new drive; MB/s of *data_bytes*, until the caller sees that it is done."""
        self.forget()
        self.last = self._service.create(self._size, is_encrypted=self._is_encrypted)
        return Sample(data_bytes / self.last.image(self._source, self._conversion) / 1e6)

    def forget(self) -> None:
        """Destroy the last one."""
        if self.last:
            self.last.destroy()
            self.last = None

    def verify(self, expected: str, what: str) -> str:
        """Compare the last one with what it should be."""
        assert self.last, "each side is measured before it is verified"
        found = content.require_same(self.last.digest(), expected, what)
        self.forget()
        return found


def timed(size: int, work: Callable[[], object]) -> Sample:
    """Return how fast *work* did *size* bytes, in MB/s."""
    before = time.monotonic()
    work()
    return Sample(size / (time.monotonic() - before) / 1e6)


@TABLE.row(
    key="image-encrypted",
    what="imaging, encrypted to encrypted, tmpfs",
    against="qemu-img convert, LUKS to LUKS",
    unit="MB/s",
    floor=3,
    goal=6,
    needs=("qemu-img",),
    is_quick=True,
    note="both ends new and empty; qemu's key derivation is cut short, so its time is the copy's; "
    "the better of qemu-img's default and -W -m 8",
)
def image_encrypted(rig: Rig) -> Contest:
    """Decrypt with one key, encrypt with another."""
    copies = Copies(rig, rig.drive(None), size=rig.size, is_encrypted=True)
    source = rig.luks("source").fill(rig.source)
    target = rig.luks("target")

    def convert(*flags: str) -> Sample:
        target.path.unlink()
        return source.convert(rig.luks("target"), *flags)

    def verify() -> str:
        plain = target.plain(rig.memory / "target.raw")
        content.require_same(content.file_digest(plain), rig.source_digest, "the copy of qemu-img")
        plain.unlink()
        target.path.unlink()
        source.path.unlink()
        return copies.verify(rig.source_digest, "the drive and the copy of qemu-img")

    return Contest(
        Side("drivebay", lambda _: copies.image(rig.size)),
        [
            Side("qemu-img convert", lambda _: convert()),
            Side("qemu-img convert -W -m 8", lambda _: convert("-W", "-m", "8")),
        ],
        verify=verify,
    )


def sparse(rig: Rig) -> Path:
    """Return a file that holds the source in pieces, each with a hole behind it."""
    path = rig.memory / "sparse.raw"
    with rig.source.open("rb") as source, path.open("wb") as file:
        for offset, length in content.pieces(rig.size):
            os.pwrite(file.fileno(), source.read(length), offset * SPREAD_OVER)
        file.truncate(rig.size * SPREAD_OVER)
    return path


def spread_drive(rig: Rig, size: int, *, is_encrypted: bool) -> Drive:
    """Return a drive of *size* that holds the source in pieces, evenly spread."""
    drive = rig.service(None).create(size, is_encrypted=is_encrypted)
    job = drive.writes(rig.source)
    step = size // rig.size
    job.spans = [(offset, offset + length) for offset, length in job.ranges]
    job.ranges = [(offset * step, length) for offset, length in job.ranges]
    transfer(job, 4, None)
    return drive


@TABLE.row(
    key="image-plain",
    what="imaging, plain to plain, a sparse drive, tmpfs",
    against="cp --sparse=always",
    unit="MB/s",
    floor=0.9,
    goal=1.1,
    needs=("cp",),
    note="MB of data; 4 MiB of data, 28 MiB of hole, and so on; both copy to what is new",
)
def image_plain(rig: Rig) -> Contest:
    """Nothing is encrypted, and holes stay holes."""
    size = rig.size * SPREAD_OVER
    drive = spread_drive(rig, size, is_encrypted=False)
    copies = Copies(rig, drive, size=size, is_encrypted=False)
    original, copy = rig.once("sparse", lambda: sparse(rig)), rig.memory / "sparse.copy"

    def copied() -> Sample:
        copy.unlink(missing_ok=True)
        return timed(rig.size, lambda: run("cp", "--sparse=always", str(original), str(copy)))

    def verify() -> str:
        run("cmp", str(original), str(copy))
        copy.unlink()
        found = copies.verify(content.file_digest(original), "the drive and the copy of cp")
        drive.destroy()
        return found

    return Contest(
        Side("drivebay", lambda _: copies.image(rig.size)),
        [Side("cp --sparse=always", lambda _: copied())],
        verify=verify,
    )


@TABLE.row(
    key="image-gunzip",
    what="imaging with gunzip onto an encrypted drive, tmpfs",
    against="igzip -d to a file",
    unit="MB/s",
    floor=0.7,
    goal=0.95,
    needs=("igzip",),
    note="MB of plain bytes; disk-like content, one stream as by gzip -6; both write what is new",
)
def image_gunzip(rig: Rig) -> Contest:
    """A compressed image is unpacked on the server."""
    plain = deflated(rig).plain
    size = plain.stat().st_size
    stream = rig.once("stream", lambda: _stream(plain, rig.memory / "disk-like.gz"))
    service = rig.service(None)
    drive = service.create(stream.stat().st_size)
    transfer(drive.writes(stream), 4, None)
    copies = Copies(rig, drive, size=size, is_encrypted=True, conversion="gunzip")
    target = rig.memory / "disk-like.out"

    def inflated() -> Sample:
        target.unlink(missing_ok=True)
        return timed(size, lambda: run("igzip", "-d", "-k", "-o", str(target), str(stream)))

    def verify() -> str:
        expected = content.file_digest(plain)
        content.require_same(content.file_digest(target), expected, "the file of igzip")
        target.unlink()
        found = copies.verify(expected, "the drive and the file of igzip")
        drive.destroy()
        return found

    return Contest(
        Side("drivebay", lambda _: copies.image(size)),
        [Side("igzip -d", lambda _: inflated())],
        verify=verify,
    )


def _stream(plain: Path, path: Path) -> Path:
    deflate = zlib.compressobj(6, wbits=31)
    with plain.open("rb") as source, path.open("wb") as file:
        while part := source.read(content.PIECE):
            file.write(deflate.compress(part))
        file.write(deflate.flush())
    return path

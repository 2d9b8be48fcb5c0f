"""Claimed drives over NBD against LUKS images that qemu-nbd and nbdkit offer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from bench import content
from bench.contest import BenchFailed, Contest, Side, Table
from bench.drive import Drive
from bench.nbd import Export, Load, pattern
from bench.peers.luks import NBDKIT, QEMU_NBD
from bench.rig import Rig
from bench.stats import Sample

TABLE = Table()

CHECKED = 16 * content.MIB

# At depth 1 a round trip takes twice as long where the scheduler has put both ends on one core, and it
# moves them only now and then: many short measurements meet with both.
PARTS = 4
AGAINST = "LUKS, the faster of nbdkit and qemu-nbd"
COPY_NEEDS = ("nbdcopy", "nbdkit", "qemu-nbd", "qemu-img")
NOTE = (
    "the same client on a unix socket for all; drivebay has the processes that it has by default, "
    "nbdkit its 16 threads, qemu-nbd one thread with --shared=8; LUKS as qemu makes it (512-byte sectors); "
    "the ratio is against the faster of the two"
)
WRITE_NOTE = NOTE + "; none of them flushes within the time"


class Sides:
    """The drive that is claimed and the images, each of which holds the source at first."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.drive: Drive = rig.drive(None)
        self.ours: Export = rig.once("claim", self.drive.claim)
        self.peers: dict[str, Export] = {"nbdkit LUKS": rig.nbd("nbdkit", NBDKIT)}
        # The slower of the two, wherever it was measured.
        if not rig.pace.is_quick:
            self.peers["qemu-nbd LUKS"] = rig.nbd("qemu-nbd", QEMU_NBD)

    def contest(
        self, measure: Callable[[Export, float], Sample], verify: Callable[[], str]
    ) -> Contest:
        """Return ours against the others; each is measured by *measure*."""
        return Contest(
            Side("drivebay", partial(measure, self.ours)),
            [Side(name, partial(measure, export)) for name, export in self.peers.items()],
            verify=verify,
        )

    def _copies(self, exports: Mapping[str, Export]) -> Iterator[tuple[str, Path]]:
        """Yield what each gives out over NBD, as a file that is gone with the next one."""
        for name, export in exports.items():
            path = export.copy_out(self._rig.memory / "copied.raw")
            yield name, path
            path.unlink()

    def _stored(self) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Yield the bytes of each side in pieces of 4 MiB: the drive's over HTTP."""
        yield "drivebay", self.drive.parts()
        for name, path in self._copies(self.peers):
            yield name, content.file_parts(path)

    def verify_source(self) -> str:
        """Compare what each side gives out with the source."""
        for name, path in self._copies({"drivebay": self.ours, **self.peers}):
            content.require_same(content.file_digest(path), self._rig.source_digest, name)
        return "the drive and each image, read over NBD: SHA-256 as sent"

    def verify_copied_in(self) -> str:
        """Compare what each side holds with the source."""
        for name, parts in self._stored():
            content.require_same(content.digest(parts), self._rig.source_digest, name)
        return "the drive, read over HTTP, and each image: SHA-256 as sent"

    def verify_written(self, load: Load) -> str:
        """Write a range anew and compare it; and nothing is anywhere that was not sent there."""
        for export in (self.ours, *self.peers.values()):
            export.write_once(load, CHECKED)
        for name, parts in self._stored():
            sources = content.file_parts(self._rig.source)
            require_written(name, parts, sources, length=load.length, checked=CHECKED)
        return "the drive, read over HTTP, and each image: each sector as sent there"


def require_written(
    name: str, parts: Iterable[bytes], sources: Iterable[bytes], *, length: int, checked: int
) -> None:
    """Look at each sector of the *parts*: it holds what fio or the *sources* have at its place.

    The first *checked* bytes hold what fio wrote there in requests of *length* bytes.

    Raises:
        BenchFailed: a sector holds something else.
    """
    offset = 0
    for part, source in zip(parts, sources, strict=True):
        for at in range(0, len(part), content.SECTOR):
            sector = part[at : at + content.SECTOR]
            last = _written(offset, length)
            if sector != last and (
                offset < checked
                or sector not in (source[at : at + content.SECTOR], *_any_written(offset))
            ):
                raise BenchFailed(f"{name}: the sector at {offset} is not what was sent there")
            offset += content.SECTOR


def _written(offset: int, length: int) -> bytes:
    """Return what a request of *length* bytes puts into the sector at *offset*."""
    return pattern(offset - offset % length, content.SECTOR)


def _any_written(offset: int) -> list[bytes]:
    return [_written(offset, length) for length in (content.SECTOR, content.MIB)]


def _sides(rig: Rig) -> Sides:
    return rig.once("nbd sides", lambda: Sides(rig))


def _loaded(rig: Rig, load: Load) -> Contest:
    sides = _sides(rig)
    verify = partial(sides.verify_written, load) if load.is_write else sides.verify_source
    return sides.contest(lambda export, seconds: export.load(load, seconds), verify)


def _add(  # noqa: PLR0913 - what a row is
    key: str,
    what: str,
    unit: str,
    build: Callable[[Rig], Contest],
    *,
    needs: tuple[str, ...] = COPY_NEEDS,
    parts: int = 1,
    is_quick: bool = False,
    note: str = NOTE,
) -> None:
    """Add a row against both peers."""
    TABLE.row(
        key=key,
        what=f"encrypted {what}, default workers",
        against=AGAINST,
        unit=unit,
        floor=1.0,
        goal=1.5,
        needs=needs,
        parts=parts,
        is_quick=is_quick,
        note=note,
    )(build)


def _add_load(key: str, what: str, load: Load, *, is_quick: bool = False) -> None:
    _add(
        key,
        what,
        "requests/s" if load.is_random else "MB/s",
        lambda rig: _loaded(rig, load),
        needs=("fio:nbd", *COPY_NEEDS),
        parts=PARTS,
        is_quick=is_quick,
        note=WRITE_NOTE if load.is_write else NOTE,
    )


def _add_random(
    direction: str, depth: int, connections: int = 1, *, is_quick: bool = False
) -> None:
    name = f"{depth}x{connections}" if connections > 1 else f"{depth}"
    over = f"{connections} connections" if connections > 1 else "1 connection"
    _add_load(
        f"nbd-4k-{direction}-{name}",
        f"4 KiB random {direction}s at depth {depth}, {over}",
        Load(f"rand{direction}", content.SECTOR, depth, connections),
        is_quick=is_quick,
    )


def _add_sequential(direction: str, *, is_quick: bool = False) -> None:
    _add_load(
        f"nbd-seq-{direction}",
        f"1 MiB sequential {direction}s at depth 4, 1 connection",
        Load(direction, content.MIB, 4),
        is_quick=is_quick,
    )


def _copied_out(rig: Rig) -> Contest:
    sides = _sides(rig)
    return sides.contest(lambda export, _: export.read(), sides.verify_source)


def _copied_in(rig: Rig) -> Contest:
    sides = _sides(rig)
    return sides.contest(lambda export, _: export.write(rig.source), sides.verify_copied_in)


# Those that read come first: they find the source on all sides.
_add_random("read", 1, is_quick=True)
_add_random("read", 16, is_quick=True)
_add_random("read", 1, 4)
_add_random("read", 16, 4)
_add_sequential("read", is_quick=True)
_add("nbdcopy-out", "read of the whole drive by nbdcopy, 4 connections", "MB/s", _copied_out)
_add_random("write", 1)
_add_random("write", 16)
_add_random("write", 1, 4)
_add_random("write", 16, 4)
_add_sequential("write")
_add(
    "nbdcopy-in",
    "write of the whole drive by nbdcopy --flush, 4 connections",
    "MB/s",
    _copied_in,
)

"""Large drives against small ones, many against few: the work should depend on the data alone."""

import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial

from bench import content
from bench.contest import BenchFailed, Contest, Side, Table
from bench.drive import Drive
from bench.rig import Rig
from bench.rows.imaging import spread_drive
from bench.service import Service
from bench.stats import Sample

TABLE = Table()

SMALL_BYTES = 8 << 30
LARGE_BYTES = 8 << 40
REPEATED = 20
FEW = 10
MANY = 10_000
MAKERS = 8
WRITE_BYTES = 4096
DRIVE_BYTES = 1 << 20


def rate(seconds: float, count: int = 1) -> Sample:
    """Return how often a second something was done that took so long *count* times."""
    return Sample(count / seconds, {"each_ms": seconds / count * 1e3})


class Sized:
    """Drives of one size, and one of them that holds the source, evenly spread."""

    def __init__(self, rig: Rig, size: int) -> None:
        self._service = rig.service(None)
        self._size = size
        self.source = spread_drive(rig, size, is_encrypted=True)

    def create(self) -> Sample:
        """Create some and destroy them; only creating is timed."""
        before = time.monotonic()
        made = [self._service.create(self._size) for _ in range(REPEATED)]
        seconds = time.monotonic() - before
        for drive in made:
            drive.destroy()
        return rate(seconds, REPEATED)

    def image(self) -> Sample:
        """Image the source onto a new one; only imaging is timed."""
        drive = self._service.create(self._size)
        seconds = drive.image(self.source)
        drive.destroy()
        return rate(seconds)

    def destroy(self) -> Sample:
        """Destroy one that holds the source; only destroying is timed."""
        drive = self._service.create(self._size)
        drive.image(self.source)
        before = time.monotonic()
        drive.destroy()
        return rate(time.monotonic() - before)


def _sizes(rig: Rig, measure: Callable[[Sized], Sample]) -> Contest:
    small = rig.once(("sized", SMALL_BYTES), lambda: Sized(rig, SMALL_BYTES))
    large = rig.once(("sized", LARGE_BYTES), lambda: Sized(rig, LARGE_BYTES))

    def verify() -> str:
        step = LARGE_BYTES // rig.size
        paths = [
            f"/drives/{large.source.uuid}/read/{offset * step}/{length}"
            for offset, length in content.pieces(rig.size)
        ]
        api = large.source.api
        parts = content.http_parts(api.port, {"Authorization": api.authorization}, paths)
        what = "the data of the 8 TiB drive"
        return content.require_same(content.digest(parts), rig.source_digest, what)

    return Contest(
        Side("8 TiB", lambda _: measure(large)),
        [Side("8 GiB", lambda _: measure(small))],
        verify=verify,
    )


def _size_row(key: str, what: str, measure: Callable[[Sized], Sample]) -> None:
    TABLE.row(
        key=key,
        what=f"{what} an 8 TiB drive with 1 GiB of data, tmpfs",
        against="the same with 8 GiB",
        unit="1/s",
        floor=0.8,
        goal=1,
        note="the data are 4 MiB pieces, evenly spread over the drive",
    )(partial(_sizes, measure=measure))


_size_row("size-create", "create", Sized.create)
_size_row("size-image", "image", Sized.image)
_size_row("size-destroy", "destroy", Sized.destroy)


class Crowd(AbstractContextManager["Crowd"]):
    """A service with *count* small drives; the first ten are worked on, or any of them."""

    def __init__(self, rig: Rig, count: int) -> None:
        self._service = Service(rig.folder("crowd"), None)
        self._chance = random.Random(3)  # noqa: S311 - a choice, no secret
        with ThreadPoolExecutor(MAKERS) as pool:
            self._drives = list(pool.map(self._service.create, [DRIVE_BYTES] * count))

    def __exit__(self, *_: object) -> None:
        """Stop the service."""
        self._service.__exit__()

    def create(self) -> Sample:
        """Create some more and destroy them; only creating is timed."""
        made = []
        connection = self._service.api.connect()
        before = time.monotonic()
        for _ in range(REPEATED):
            body = f"size {DRIVE_BYTES}\n"
            made.append(
                self._service.api.call("POST", "/drives/create", body, connection=connection)
            )
        seconds = time.monotonic() - before
        for text in made:
            found = re.search(r"^drive (\S+)$", text, re.MULTILINE)
            assert found, text
            Drive(self._service.api, found[1], DRIVE_BYTES).destroy()
        connection.close()
        return rate(seconds, REPEATED)

    def info(self, seconds: float, *, of: int) -> Sample:
        """Ask for the records of the first *of* drives, at random, on one connection."""
        return self._calls(seconds, "GET", "info", "", of=of)

    def write(self, seconds: float, *, of: int) -> Sample:
        """Write 4 KiB onto the first *of* drives, at random, on one connection."""
        return self._calls(seconds, "POST", "write", "x" * WRITE_BYTES, of=of)

    def _calls(self, seconds: float, method: str, call: str, body: str, *, of: int) -> Sample:
        api = self._service.api
        connection = api.connect()
        count, started = 0, time.monotonic()
        while (taken := time.monotonic() - started) < seconds:
            drive = self._chance.choice(self._drives[:of])
            api.call(method, f"/drives/{drive.uuid}/{call}", body, connection=connection)
            count += 1
        connection.close()
        return rate(taken, count)

    def verify(self) -> str:
        """Count the drives.

        Raises:
            BenchFailed: there are more or fewer.
        """
        count = len(self._service.api.call("GET", "/drives/list").split())
        if count != len(self._drives):
            raise BenchFailed(f"{count} drives are listed of {len(self._drives)}")
        return f"{count} drives are listed"


def _crowds(
    rig: Rig, measure: Callable[[Crowd, float, int], Sample], *, has_any: bool = True
) -> Contest:
    few = rig.once(("crowd", FEW), lambda: Crowd(rig, FEW))
    many = rig.once(("crowd", MANY), lambda: Crowd(rig, MANY))
    any_of_them = [Side("any of 10,000", lambda seconds: measure(many, seconds, MANY))]
    return Contest(
        Side("10 of 10,000 drives", lambda seconds: measure(many, seconds, FEW)),
        [Side("10 of 10 drives", lambda seconds: measure(few, seconds, FEW))],
        also=any_of_them if has_any else (),
        verify=many.verify,
    )


CROWD_NOTE = (
    "one connection, one user; the same ten drives are worked on on both sides, and beside that "
    "any of the ten thousand"
)


@TABLE.row(
    key="many-create",
    what="create a drive where there are 10,000, tmpfs",
    against="the same where there are 10",
    unit="1/s",
    floor=0.85,
    goal=1,
    note="one connection, one user",
)
def many_create(rig: Rig) -> Contest:
    """The catalog grows."""
    return _crowds(rig, lambda crowd, _seconds, _of: crowd.create(), has_any=False)


@TABLE.row(
    key="many-info",
    what="info where there are 10,000 drives",
    against="the same where there are 10",
    unit="1/s",
    floor=0.85,
    goal=1,
    note=CROWD_NOTE,
)
def many_info(rig: Rig) -> Contest:
    """A look into the catalog."""
    return _crowds(rig, lambda crowd, seconds, of: crowd.info(seconds, of=of))


@TABLE.row(
    key="many-write",
    what="4 KiB write where there are 10,000 drives, tmpfs",
    against="the same where there are 10",
    unit="1/s",
    floor=0.85,
    goal=1,
    note=CROWD_NOTE,
)
def many_write(rig: Rig) -> Contest:
    """A write needs the catalog too."""
    return _crowds(rig, lambda crowd, seconds, of: crowd.write(seconds, of=of))

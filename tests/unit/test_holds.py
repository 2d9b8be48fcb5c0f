"""Who may be at a drive beside whom, and that the row is looked at again once the lock is held."""

import threading
from contextlib import AbstractContextManager, contextmanager

import pytest

from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, Rows, drives, sqlite_url
from drivebay.errors import DriveBusy, DriveNotFound
from drivebay.keys import MasterKey
from drivebay.model import Cipher, Drive, DriveState
from drivebay.service import access, holds
from drivebay.service.context import Context, DataKeys
from drivebay.service.counters import Counters
from drivebay.service.holds import held_range, held_whole
from drivebay.storage.memory import MemoryStore
from drivebay.storage.volume import WouldWait

SIZE = 65536


@pytest.fixture
def ctx(tmp_path):
    catalog = Catalog(sqlite_url(tmp_path / "catalog.sqlite"))
    catalog.migrate()
    store = MemoryStore("default", "default")
    keys = DataKeys(MasterKey(bytes(32)))
    counters = Counters(tmp_path, "one")
    yield Context(
        catalog=catalog,
        rows=Rows(catalog),
        stores={"default": store},
        keys=keys,
        counters=counters,
    )
    catalog.close()


@pytest.fixture
def drive(ctx: Context) -> Drive:
    with ctx.catalog.write() as tx:
        owner = add_user(tx)
        made = add_drive(tx, owner.uuid, size=SIZE, cipher=Cipher.NONE, store="default")
    ctx.stores["default"].create(made.uuid, SIZE)
    return made


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(holds, "CHANGE_WAIT_S", 0.0)


def taken(ctx: Context, drive: Drive, kind: str) -> AbstractContextManager[object]:
    def check(row: Drive | None) -> Drive:
        return access.owned(row, drive.owner, drive.uuid)

    match kind:
        case "reading":
            return held_range(ctx, drive.uuid, check, 0, SIZE, shared=True, now=True)
        case "writing":
            return held_range(ctx, drive.uuid, check, 0, SIZE, shared=False, now=True)
        case "freezing":
            return held_whole(ctx, drive.uuid, check, shared=True)
        case _:
            return held_whole(ctx, drive.uuid, check)


TOGETHER = {("reading", "reading"), ("reading", "freezing"), ("freezing", "freezing")}
KINDS = ("reading", "writing", "freezing", "changing")


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_reads_go_with_reads_and_frozen_drives_and_everything_else_is_alone(
    ctx, drive, first, second
):
    may_both = (first, second) in TOGETHER or (second, first) in TOGETHER
    ctx.rows.drive(drive.uuid)

    with taken(ctx, drive, first):
        if may_both:
            with taken(ctx, drive, second):
                pass
        else:
            with pytest.raises((WouldWait, DriveBusy)), taken(ctx, drive, second):
                pass

    with taken(ctx, drive, second):
        pass


def test_nothing_is_held_now_of_a_drive_that_would_have_to_be_looked_up(ctx, drive):
    with pytest.raises(WouldWait), taken(ctx, drive, "reading"):
        pass


@contextmanager
def waiting_write(ctx: Context, drive: Drive, outcome: list[object]):
    """Have a write wait for the drive while the block runs."""

    def write() -> None:
        def check(row: Drive | None) -> Drive:
            return access.owned(row, drive.owner, drive.uuid)

        try:
            with held_range(ctx, drive.uuid, check, 0, 4096, shared=False) as (row, volume):
                outcome.append((row.size, volume.size))
        except DriveNotFound:
            outcome.append("missing")

    with taken(ctx, drive, "changing"):
        thread = threading.Thread(target=write)
        thread.start()
        yield
    thread.join(30)


def test_a_write_that_waited_finds_the_size_that_the_drive_was_given_meanwhile(ctx, drive):
    outcome: list[object] = []

    with waiting_write(ctx, drive, outcome):
        ctx.open_volume(drive).resize(2 * SIZE)
        with ctx.catalog.write() as tx:
            drives.change(tx, drive.uuid, size=2 * SIZE)

    assert outcome == [(2 * SIZE, 2 * SIZE)]


def test_a_write_that_waited_for_a_destroy_finds_no_drive(ctx, drive):
    outcome: list[object] = []

    with waiting_write(ctx, drive, outcome):
        with ctx.catalog.write() as tx:
            drives.change(tx, drive.uuid, state=DriveState.DESTROYING)
        ctx.stores["default"].destroy(drive.uuid)

    assert outcome == ["missing"]


@pytest.mark.parametrize("now", [True, False])
def test_a_volume_that_is_removed_between_the_look_and_its_opening_is_no_failure(ctx, drive, now):
    """A destroy that is not quite done has emptied or removed the volume; its row is still there."""

    def check(row: Drive | None) -> Drive:
        found = access.owned(row, drive.owner, drive.uuid)
        with ctx.catalog.write() as tx:
            drives.change(tx, drive.uuid, state=DriveState.DESTROYING, wrapped_key=None)
        ctx.stores["default"].destroy(drive.uuid)
        return found

    ctx.rows.drive(drive.uuid)

    with (
        pytest.raises(WouldWait if now else DriveNotFound),
        held_range(ctx, drive.uuid, check, 0, SIZE, shared=True, now=now),
    ):
        pass

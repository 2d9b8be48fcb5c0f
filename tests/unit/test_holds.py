"""Who may be at a drive beside whom, and that the row is looked at again once the lock is held."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest

from contract.rows import add_drive, add_job, add_user
from contract.stacks import pattern
from drivebay.catalog import Catalog, Rows, drives, sqlite_url
from drivebay.catalog import users as user_rows
from drivebay.errors import (
    DrivebayError,
    DriveBusy,
    DriveFaulted,
    DriveNotFound,
    ReadPastEnd,
    StorageFailed,
)
from drivebay.keys import MasterKey
from drivebay.model import Cipher, Drive, DriveState
from drivebay.service import access, holds, transfer
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
    thread.join(60)


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


Change = Callable[[Context, Drive], None]


def commit(ctx: Context, drive: Drive, **changes: object) -> None:
    """Change the drive's row as another process does."""
    with ctx.catalog.write() as tx:
        drives.change(tx, drive.uuid, **changes)


def shrink(ctx: Context, drive: Drive) -> None:
    commit(ctx, drive, size=SIZE // 2)
    ctx.open_stored(drive).resize(SIZE // 2)


def grow(ctx: Context, drive: Drive) -> None:
    ctx.open_stored(drive).resize(2 * SIZE)
    commit(ctx, drive, size=2 * SIZE)


def destroy(ctx: Context, drive: Drive) -> None:
    commit(ctx, drive, state=DriveState.DESTROYING, wrapped_key=None)
    ctx.stores["default"].destroy(drive.uuid)
    with ctx.catalog.write() as tx:
        drives.delete(tx, drive.uuid)


def begin_to_destroy(ctx: Context, drive: Drive) -> None:
    commit(ctx, drive, state=DriveState.DESTROYING, wrapped_key=None)


def begin_to_image(ctx: Context, drive: Drive) -> None:
    with ctx.catalog.write() as tx:
        source = add_drive(tx, drive.owner, store="default")
        add_job(tx, drive, source)


def lose_the_volume(ctx: Context, drive: Drive) -> None:
    ctx.stores["default"].destroy(drive.uuid)


def rename(ctx: Context, drive: Drive) -> None:
    commit(ctx, drive, name="new")


def found(ctx: Context, drive: Drive, offset: int, length: int) -> bytes | type[DrivebayError]:
    """Return what a read finds: the bytes, or the failure."""
    buffer = bytearray(length)
    try:
        transfer.read(ctx, drive.owner, drive.uuid, offset, memoryview(buffer))
    except DrivebayError as failure:
        return type(failure)
    return bytes(buffer)


def found_now(ctx: Context, drive: Drive, offset: int, length: int) -> object:
    """Return what a read without waiting finds, or None where it takes waiting."""
    buffer = bytearray(length)
    try:
        decode = transfer.fetch_now(ctx, drive.owner, drive.uuid, offset, memoryview(buffer))
    except DrivebayError as failure:
        return type(failure)
    if decode is None:
        return None
    decode(0, length)
    return bytes(buffer)


CONTENT = pattern(SIZE)
AFTERWARDS = {
    shrink: (CONTENT[:10], ReadPastEnd, ReadPastEnd),
    grow: (CONTENT[:10], CONTENT[-10:], bytes(10)),
    destroy: (DriveNotFound, DriveNotFound, DriveNotFound),
    begin_to_destroy: (DriveNotFound, DriveNotFound, DriveNotFound),
    begin_to_image: (DriveBusy, DriveBusy, ReadPastEnd),
    lose_the_volume: (StorageFailed, StorageFailed, ReadPastEnd),
    rename: (CONTENT[:10], CONTENT[-10:], ReadPastEnd),
}
"""What is found after each change at the start, at the old end, and behind it."""


@pytest.fixture
def filled(ctx, drive) -> Drive:
    """The drive with content, whose row is remembered."""
    with ctx.open_volume(drive) as volume:
        volume.pwrite(0, memoryview(bytearray(CONTENT)))
    assert found(ctx, drive, 0, SIZE) == CONTENT
    assert ctx.rows.recent_drive(drive.uuid) is not None
    return drive


@pytest.mark.parametrize("change", AFTERWARDS, ids=lambda change: change.__name__)
def test_a_guess_that_is_out_of_date_gives_no_wrong_bytes_and_no_wrong_refusal(ctx, filled, change):
    change(ctx, filled)

    expected = AFTERWARDS[change]
    for place, wanted in zip((0, SIZE - 10, SIZE), expected, strict=True):
        # Without waiting first, while the guess is the only row that is at hand.
        assert found_now(ctx, filled, place, 10) in (wanted, None)
        assert found(ctx, filled, place, 10) == wanted
        assert found_now(ctx, filled, place, 10) in (wanted, None)


@pytest.mark.parametrize("cipher", Cipher)
def test_what_a_guess_refuses_is_asked_of_the_present_row(ctx, cipher):
    """Nothing was right at the first look: size, state and readers; then all of it is."""
    wrapped, size = None, SIZE // 2
    with ctx.catalog.write() as tx:
        owner, reader = add_user(tx), add_user(tx)
        made = add_drive(
            tx, owner.uuid, size=size, cipher=cipher, store="default", state=DriveState.CREATING
        )
    assert found(ctx, made, 0, 1) is DriveNotFound
    assert ctx.rows.recent_drive(made.uuid) is not None

    if cipher is not Cipher.NONE:
        wrapped = ctx.keys.master.make_data_key(made.uuid)[1]
    ctx.stores["default"].create(made.uuid, SIZE)
    commit(
        ctx,
        made,
        state=DriveState.READY,
        size=SIZE,
        wrapped_key=wrapped,
        readers=(str(reader.uuid),),
    )

    assert found(ctx, replace(made, owner=reader.uuid), SIZE - 5, 5) == bytes(5)


def test_a_guess_without_the_present_key_opens_nothing(ctx):
    """The row that is remembered has a key that nobody can unwrap; the present one has another."""
    with ctx.catalog.write() as tx:
        made = add_drive(tx, add_user(tx).uuid, size=SIZE, store="default", wrapped_key=b"x" * 100)
    ctx.stores["default"].create(made.uuid, SIZE)
    assert found(ctx, made, 0, 1) is DriveFaulted

    commit(ctx, made, wrapped_key=ctx.keys.master.make_data_key(made.uuid)[1])

    assert found(ctx, made, 0, 10) == bytes(10)


def test_whoever_holds_all_of_a_drive_holds_the_present_one(ctx, filled):
    def check(row: Drive | None) -> Drive:
        return access.owned(row, filled.owner, filled.uuid)

    grow(ctx, filled)
    with held_whole(ctx, filled.uuid, check) as (row, volume):
        assert (row.size, volume.size) == (2 * SIZE, 2 * SIZE)

    destroy(ctx, filled)
    with pytest.raises(DriveNotFound), held_whole(ctx, filled.uuid, check):
        pass


@pytest.mark.parametrize("revoked", [True, False])
def test_who_may_not_read_a_drive_any_more_is_not_told_that_its_volume_is_gone(
    ctx, filled, revoked
):
    with ctx.catalog.write() as tx:
        reader = add_user(tx).uuid
    commit(ctx, filled, readers=(str(reader),))
    theirs = replace(filled, owner=reader)
    assert found(ctx, theirs, 0, SIZE) == CONTENT

    if revoked:
        commit(ctx, filled, readers=())
    lose_the_volume(ctx, filled)

    wanted = DriveNotFound if revoked else StorageFailed
    assert found_now(ctx, theirs, 0, 10) in (wanted, None)
    assert found(ctx, theirs, 0, 10) is wanted


def test_a_change_of_somebody_else_costs_nobody_his_drive(ctx, filled):
    with ctx.catalog.write() as tx:
        user_rows.change(tx, add_user(tx).uuid, enabled=False)

    assert found_now(ctx, filled, 0, SIZE) is None
    assert found(ctx, filled, 0, SIZE) == CONTENT
    assert found_now(ctx, filled, 0, SIZE) == CONTENT

"""The life of a drive: list, info, create, set, destroy.

The catalog records what is about to happen before the store acts, so that `recovery` can finish or
undo it after a crash.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from uuid import UUID, uuid4

from drivebay.catalog import Transaction
from drivebay.catalog import drives as rows
from drivebay.catalog import users as user_rows
from drivebay.errors import (
    DrivebayError,
    DriveBusy,
    InvalidInput,
    QuotaExceeded,
    StorageFailed,
)
from drivebay.model import Cipher, ClaimType, Drive, DriveState
from drivebay.service import access, claims, fields, placement
from drivebay.service.context import Context, stored_size
from drivebay.service.fields import Fields
from drivebay.service.holds import Check, held_whole
from drivebay.service.records import record
from drivebay.service.states import require_idle, require_unclaimed
from drivebay.storage.volume import WouldWait
from drivebay.wire import Record

_log = logging.getLogger("drivebay.drives")


def listed(ctx: Context, caller: UUID) -> list[UUID]:
    """Return the uuids of the caller's own drives, oldest first."""
    with ctx.catalog.read() as tx:
        return [drive.uuid for drive in rows.owned(tx, caller)]


def listed_standard(ctx: Context) -> list[UUID]:
    """Return the uuids of the standard drives."""
    with ctx.catalog.read() as tx:
        return [drive.uuid for drive in rows.standard(tx)]


def info_all(ctx: Context, caller: UUID, *, full: bool = False) -> list[Record]:
    """Return the records of the caller's own drives, oldest first."""
    with ctx.catalog.read() as tx:
        drives = rows.owned(tx, caller)
    return [record(ctx, drive, caller, full=full) for drive in drives]


def info_standard(ctx: Context, caller: UUID, *, full: bool = False) -> list[Record]:
    """Return the records of the standard drives."""
    with ctx.catalog.read() as tx:
        drives = rows.standard(tx)
    return [record(ctx, drive, caller, full=full) for drive in drives]


def info(ctx: Context, caller: UUID, uuid: UUID, *, full: bool = False) -> Record:
    """Return the record of a drive that the caller may read.

    Raises:
        DriveNotFound: there is none.
    """
    drive = access.readable(ctx.rows.drive(uuid), caller, uuid)
    return record(ctx, drive, caller, full=full)


def info_now(ctx: Context, caller: UUID, uuid: UUID) -> Record:
    """Do as `info`.

    Raises:
        WouldWait: to find out takes waiting.
    """
    row = ctx.rows.kept_drive(uuid)
    if row is None:
        raise WouldWait
    return record(ctx, access.readable(row, caller, uuid), caller)


def require_readable(ctx: Context, caller: UUID, uuid: UUID) -> None:
    """Raise DriveNotFound unless *caller* may read the drive."""
    access.readable(ctx.rows.drive(uuid), caller, uuid)


def require_owned(ctx: Context, caller: UUID, uuid: UUID) -> None:
    """Raise DriveNotFound unless *caller* owns the drive."""
    access.owned(ctx.rows.drive(uuid), caller, uuid)


def create(ctx: Context, caller: UUID, pairs: Mapping[str, str]) -> Record:
    """Make a drive of zeros and return its record.

    Raises:
        InvalidInput: a value is wrong, or the size is missing.
        QuotaExceeded: the caller's quota does not cover it.
        OutOfSpace: no store can take it.
        StorageFailed: the store failed; there is no drive.
    """
    wanted = fields.for_create(pairs, defaults={"user": str(caller), "status": "active"})
    return record(ctx, make(ctx, caller, wanted), caller)


def make(
    ctx: Context,
    caller: UUID,
    wanted: Fields,
    *,
    require_state: Callable[[Transaction], None] = lambda _: None,
) -> Drive:
    """Make the drive that *wanted* describes; raises as `create` does.

    *require_state* may refuse it: after its input, before quota and space.
    """
    drive = _recorded_intent(ctx, caller, wanted, require_state)
    try:
        ctx.store_of(drive).create(drive.uuid, stored_size(drive.size, drive.cipher))
    except DrivebayError:
        abandon(ctx, drive)
        raise
    with ctx.catalog.write() as tx:
        rows.change(tx, drive.uuid, state=DriveState.READY)
    return access.owned(ctx.rows.drive(drive.uuid), caller, drive.uuid)


def _recorded_intent(
    ctx: Context, caller: UUID, wanted: Fields, require_state: Callable[[Transaction], None]
) -> Drive:
    if wanted.size is None:
        raise InvalidInput(reason="size is missing")
    uuid = uuid4()
    cipher = wanted.cipher or Cipher.AES_XTS
    wrapped = None if cipher is Cipher.NONE else ctx.keys.master.make_data_key(uuid)[1]
    user_data = fields.merged_user_data({}, wanted.user_data)
    with ctx.catalog.write() as tx:
        domains = placement.domains_of(ctx, tx, caller, wanted.avoid)
        require_state(tx)
        require_quota(tx, caller, drives=1, size_bytes=wanted.size)
        drive = Drive(
            uuid=uuid,
            owner=caller,
            name=wanted.name or "",
            size=wanted.size,
            cipher=cipher,
            claim_type=wanted.claim_type or ClaimType.EXCLUSIVE,
            readers=wanted.readers or (),
            tags=wanted.tags or (),
            user_data=user_data,
            tier=wanted.tier or "",
            store=placement.choose(ctx, domains).name,
            state=DriveState.CREATING,
            wrapped_key=wrapped,
        )
        return rows.insert(tx, drive)


def abandon(ctx: Context, drive: Drive) -> None:
    """Remove what there is of a drive that is not, or no longer, to be: the store's part first.

    Raises:
        StorageFailed: the store cannot be reached; the row stays for the next start to retry.
    """
    ctx.store_of(drive).destroy(drive.uuid)
    with ctx.catalog.write() as tx:
        rows.delete(tx, drive.uuid)


def change(
    ctx: Context, caller: UUID, uuid: UUID, pairs: Callable[[], Mapping[str, str]]
) -> Record:
    """Set the drive's fields, its size included, and return its record.

    *pairs* is called once the drive is known to be the caller's: what one may not change is
    missing, whatever else is wrong with the call.

    Raises:
        DriveNotFound: the caller owns no such drive.
        InvalidInput: a value is wrong, or a key cannot be set.
        DriveBusy: a new size, and the drive is in use; or exclusive, and servers share it.
        QuotaExceeded: the caller's quota does not cover the new size.
        OutOfSpace: the store cannot take the new size.
    """
    drive = access.owned(ctx.rows.drive(uuid), caller, uuid)
    given = pairs()
    # Clients send a record back, and `info` tells less of imaging than `info/full` does.
    present, shown = (record(ctx, drive, caller, full=full) for full in (True, False))
    if given.get("imaging") == shown.get("imaging"):
        present |= shown
    wanted = fields.for_set(given, present=present)
    fields.merged_user_data(drive.user_data, wanted.user_data)  # Input comes before state.
    if wanted.size is not None and wanted.size != drive.size:
        _resize(ctx, caller, uuid, wanted.size, wanted)
    else:
        with ctx.catalog.write() as tx:
            ended = _store_fields(tx, access.owned(rows.get(tx, uuid), caller, uuid), wanted)
        claims.end_connections(ctx, uuid, ended)
    return info(ctx, caller, uuid)


def _store_fields(tx: Transaction, drive: Drive, wanted: Fields) -> list[int]:
    """Set the fields; return the claims that end by that, whose connections are to be waited for."""
    claims.require_type(drive, wanted.claim_type or drive.claim_type)
    user_data = fields.merged_user_data(drive.user_data, wanted.user_data)
    rows.change(
        tx,
        drive.uuid,
        name=drive.name if wanted.name is None else wanted.name,
        claim_type=wanted.claim_type or drive.claim_type,
        readers=drive.readers if wanted.readers is None else wanted.readers,
        tags=drive.tags if wanted.tags is None else wanted.tags,
        user_data=user_data,
    )
    changed = rows.get(tx, drive.uuid)
    return claims.drop_strangers(tx, changed) if changed is not None and drive.claims else []


def _resize(ctx: Context, caller: UUID, uuid: UUID, size: int, wanted: Fields) -> None:
    with held_whole(ctx, uuid, _changeable(caller, uuid)) as (drive, _):
        with ctx.catalog.read() as tx:
            require_quota(tx, caller, drives=0, size_bytes=size - drive.size)
        with (
            ctx.open_volume(drive) as volume,
            faulting(ctx, drive, "a change of its size failed in its store"),
        ):
            # What stands behind the row's end is never shown, so growing changes the volume first
            # and shrinking the row; a change that was cut short may have left a longer volume.
            if size > drive.size:
                volume.resize(drive.size)
                volume.resize(size)
            try:
                with ctx.catalog.write() as tx:
                    require_quota(tx, caller, drives=0, size_bytes=size - drive.size)
                    # Looked up again: other fields may have been set since.
                    present = access.owned(rows.get(tx, uuid), caller, uuid)
                    require_unclaimed(present)
                    _store_fields(tx, present, wanted)
                    rows.change(tx, uuid, size=size)
            except (QuotaExceeded, DriveBusy):
                volume.resize(drive.size)
                raise
            # After a CatalogFailed nobody knows whether the row was changed, so the longer
            # volume stays; the next start settles it.
            if size < drive.size:
                volume.resize(size)


@contextmanager
def faulting(ctx: Context, drive: Drive, reason: str) -> Iterator[None]:
    """Take the drive out of service when its store fails inside.

    The kernel reports a failed write-back once and may have dropped the pages, so a second try
    that succeeds would prove nothing (PostgreSQL's "fsyncgate").
    """
    try:
        yield
    except StorageFailed:
        _log.critical("drive %s taken out of service: %s", drive.uuid, reason)
        with ctx.catalog.write() as tx:
            rows.change(tx, drive.uuid, fault=reason)
        raise


def destroy(ctx: Context, caller: UUID, uuid: UUID) -> None:
    """Destroy the drive: its key first, so that its bytes mean nothing from then on.

    Raises:
        DriveNotFound: the caller owns no such drive.
        DriveBusy: the drive is in use.
        StorageFailed: the drive is gone for callers, but the store failed to give up its volume;
            the next start tries again.
    """
    changeable = _changeable(caller, uuid)
    with ExitStack() as holds:
        # Nobody is at the bytes of a volume that cannot be opened, so it can go without a hold.
        with suppress(StorageFailed):
            holds.enter_context(held_whole(ctx, uuid, changeable))
        with ctx.catalog.write() as tx:
            drive = changeable(rows.get(tx, uuid))
            rows.change(tx, uuid, state=DriveState.DESTROYING, wrapped_key=None)
        abandon(ctx, drive)


def _changeable(caller: UUID, uuid: UUID) -> Check:
    def check(row: Drive | None) -> Drive:
        drive = access.owned(row, caller, uuid)
        require_idle(drive)
        require_unclaimed(drive)
        return drive

    return check


def require_quota(tx: Transaction, caller: UUID, *, drives: int, size_bytes: int) -> None:
    """Refuse what the caller's quota does not cover; the account stays locked until *tx* ends.

    Raises:
        QuotaExceeded: the message says what is used, wanted and allowed.
    """
    user_rows.lock(tx, caller)
    user = user_rows.get(tx, caller)
    if user is None:
        raise InvalidInput(reason="the account is gone")
    if user.quota_drives is None and user.quota_bytes is None:
        return  # To add up ten thousand drives takes longer than to make one.
    usage = rows.usage(tx, caller)
    for what, used, wanted, quota in (
        ("drives", usage.drives, drives, user.quota_drives),
        ("bytes", usage.size_bytes, size_bytes, user.quota_bytes),
    ):
        if quota is not None and wanted > 0 and used + wanted > quota:
            raise QuotaExceeded(what=what, used=used, wanted=wanted, quota=quota)

"""Holding a drive while something is done to it: the locks, and the look at its row inside them.

The locks are on the volume, so they order threads, processes and front ends alike.  A read holds
its range shared, a write alone; who changes what a drive *is* (size, imaging, existence) holds the
whole volume alone, and the source of an imaging is frozen by holding it shared.  The row is looked
up again once the lock is held: whatever was decided before the lock may have changed since.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID

from drivebay.errors import DrivebayError, DriveBusy, DriveFaulted, StorageFailed
from drivebay.model import Drive
from drivebay.service.context import Context
from drivebay.storage.volume import Volume, WouldWait

Check = Callable[[Drive | None], Drive]
"""Returns the row that it is given if the call may go on with it; raises what it has against it."""

CHANGE_WAIT_S = 10.0
"""How long a change waits for transfers in flight before the drive counts as busy."""

# Each new try means that the drive was resized or destroyed while the one before waited.
_TRIES_MAX = 100


def held_range(  # noqa: PLR0913 - which drive, what may be, where, how
    ctx: Context,
    uuid: UUID,
    check: Check,
    offset: int,
    length: int,
    *,
    shared: bool,
    now: bool = False,
) -> AbstractContextManager[tuple[Drive, Volume]]:
    """Hold a range that *check* finds to be inside the drive; yield its row and its open volume.

    Raises:
        WouldWait: *now* was asked for, and it takes waiting.
    """

    def lock(volume: Volume) -> AbstractContextManager[None]:
        return volume.locked(offset, length, shared=shared, wait_s=0.0 if now else None)

    def open_volume(drive: Drive) -> Volume:
        return ctx.open_volume(drive, now=now)

    return _held(ctx, uuid, check, open_volume, lock, now=now)


@contextmanager
def held_whole(
    ctx: Context, uuid: UUID, check: Check, *, shared: bool = False
) -> Iterator[tuple[Drive, Volume]]:
    """Hold all of the drive against transfers and changes; *shared* goes with reads.

    Yields its row and its volume as it is stored, so a drive whose key is lost can be held too.

    Raises:
        DriveBusy: transfers in flight did not end in time.
    """

    def lock(volume: Volume) -> AbstractContextManager[None]:
        return volume.locked_whole(shared=shared, wait_s=CHANGE_WAIT_S)

    try:
        with _held(ctx, uuid, check, ctx.open_stored, lock, now=False) as held:
            yield held
    except WouldWait:
        raise DriveBusy(drive=uuid, reason="transfers are in flight; try again") from None


@contextmanager
def _held(
    ctx: Context,
    uuid: UUID,
    check: Check,
    open_volume: Callable[[Drive], Volume],
    lock: Callable[[Volume], AbstractContextManager[None]],
    *,
    now: bool,
) -> Iterator[tuple[Drive, Volume]]:
    look_up = ctx.rows.kept_drive if now else ctx.rows.drive
    drive = _guessed(ctx.rows.recent_drive(uuid), check)
    for _ in range(_TRIES_MAX):
        if drive is None:
            present = look_up(uuid)
            if now and present is None:
                raise WouldWait
            drive = check(present)
        volume = _opened(drive, check, look_up, open_volume)
        if volume is not None:
            with volume, lock(volume):
                present = look_up(uuid)
                if present is not None and _is_same_volume(present, drive):
                    yield check(present), volume
                    return
        drive = None
    raise DriveBusy(drive=uuid, reason="it is changed all the time; try again")


def _guessed(recent: Drive | None, check: Check) -> Drive | None:
    """Return the row that is probably the present one; a refusal by it counts for nothing."""
    if recent is None:
        return None
    try:
        return check(recent)
    except DrivebayError:
        return None


def _opened(
    drive: Drive,
    check: Check,
    look_up: Callable[[UUID], Drive | None],
    open_volume: Callable[[Drive], Volume],
) -> Volume | None:
    """Return the drive's volume, or None when the drive has changed since its row was read."""
    try:
        return open_volume(drive)
    except (StorageFailed, DriveFaulted):
        present = look_up(drive.uuid)
        if present is not None and _is_same_volume(present, drive):
            check(present)  # What it may not touch at all comes before what is wrong with it.
            raise
        return None


def _is_same_volume(one: Drive, other: Drive) -> bool:
    if one is other:
        return True
    # A drive in plain has no key that a destroy would take from it, so its state counts too.
    return (one.state, one.store, one.size, one.wrapped_key) == (
        other.state,
        other.store,
        other.size,
        other.wrapped_key,
    )

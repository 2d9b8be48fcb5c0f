"""Claims: a server's hold on a drive, which is what lets the server use it over NBD.

A claim is a row of the catalog.  One on an exclusive drive is made while its whole volume is held,
so that no HTTP write is in flight when it begins.  Its ticket opens the drive.  Whoever ends a claim
or its ticket commits that first, and then waits for the connections (`sessions`), each of whose
operations looks at the catalog's version under the lock of its range (`exports`): none takes effect
after that.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from uuid import UUID

from drivebay import keys
from drivebay.catalog import Transaction
from drivebay.catalog import claims as claim_rows
from drivebay.catalog import drives as rows
from drivebay.errors import (
    ClaimNotFound,
    DriveBusy,
    DriveFaulted,
    InvalidInput,
)
from drivebay.model import CLAIMS_MAX, Claim, ClaimAccess, ClaimType, Drive
from drivebay.service import access
from drivebay.service.accounts import pepper
from drivebay.service.context import Context
from drivebay.service.holds import Check, held_whole
from drivebay.service.records import record
from drivebay.service.states import failed_imaging, require_idle, require_sound
from drivebay.wire import Record

# Each new try means that the same server's claim was renewed meanwhile.
_TRIES_MAX = 100


def claim(
    ctx: Context,
    caller: UUID,
    uuid: UUID,
    server: UUID,
    pairs: Mapping[str, str],
) -> Record:
    """Let *server* hold the drive; return its record with the claim's URI, ticket and access.

    *pairs* may say what `claim:access` is to be; the owner's is `write` otherwise, a reader's
    `read`.  A server that holds the drive gets a new ticket, and its connections end first.

    Raises:
        DriveNotFound: the caller may read no such drive, or wants to write to another's.
        InvalidInput: a value is wrong.
        DriveBusy: another server holds it alone, it is being imaged, it is exclusive and the
            caller not its owner, or transfers in flight or connections did not end in time.
        DriveFaulted: its content cannot be trusted.
    """
    wanted = _access(pairs, access.readable(ctx.rows.drive(uuid), caller, uuid), caller)

    def check(row: Drive | None) -> Drive:
        present = access.readable(row, caller, uuid)
        _require_claimable(present, caller, server, wanted)
        return present

    made = Claim(id=0, drive=uuid, server=server, holder=caller, access=wanted, ticket_hash=None)
    for _ in range(_TRIES_MAX):
        before = check(ctx.rows.drive(uuid))
        if (renewed := held_by(before, server)) is not None:
            _void(ctx, renewed)
        with _writes_done(ctx, before, check), ctx.catalog.write() as tx:
            present = check(rows.get(tx, uuid))
            if not _is_same(before, present, server):
                continue
            if renewed is not None:
                claim_rows.delete(tx, renewed.id)
            ticket = keys.make_ticket()
            made = replace(made, ticket_hash=keys.hash_ticket(pepper(tx), ticket))
            claim_rows.insert(tx, made)
            claimed = access.readable(rows.get(tx, uuid), caller, uuid)
        return record(ctx, claimed, caller) | {
            "claim:access": wanted.value,
            "claim:ticket": ticket,
            "nbd": ctx.export_uri(ticket),
        }
    raise DriveBusy(drive=uuid, reason="it is claimed all the time; try again")


def _writes_done(ctx: Context, drive: Drive, check: Check) -> AbstractContextManager[object]:
    """Hold the drive, if it is exclusive, so that no write of its owner's is in flight."""
    if drive.claim_type is ClaimType.SHARED:
        return nullcontext()
    return held_whole(ctx, drive.uuid, check, shared=True)


def _is_same(before: Drive, present: Drive, server: UUID) -> bool:
    """Whether what was done for the drive as it was *before* is what it needs."""
    one, other = held_by(before, server), held_by(present, server)
    is_same_claim = (one and one.id) == (other and other.id)
    return is_same_claim and before.claim_type is present.claim_type


def release(ctx: Context, caller: UUID, uuid: UUID, server: UUID) -> None:
    """End the claim of *server*; on return its connections have ended.

    The owner may end any claim, others those that they made.

    Raises:
        DriveNotFound: the caller may read no such drive.
        ClaimNotFound: the server does not hold it, or by another's claim.
        DriveBusy: a connection did not end; the claim is there still, without a ticket.
    """
    drive = access.readable(ctx.rows.drive(uuid), caller, uuid)
    found = held_by(drive, server)
    if found is None or caller not in {drive.owner, found.holder}:
        raise ClaimNotFound(drive=uuid, server=server)
    _void(ctx, found)
    with ctx.catalog.write() as tx:
        claim_rows.delete(tx, found.id)


def held_by(drive: Drive, server: UUID) -> Claim | None:
    """Return the claim of *server* on the drive."""
    return next((found for found in drive.claims if found.server == server), None)


def void_tickets(tx: Transaction, holder: UUID) -> list[int]:
    """Let no ticket that *holder* was given open a drive any more; return the claims' ids.

    Wait for the end of their connections once *tx* is committed.
    """
    found = [row.id for row in claim_rows.of_holder(tx, holder)]
    for number in found:
        claim_rows.void(tx, number)
    return found


def drop_strangers(tx: Transaction, drive: Drive) -> list[int]:
    """End the claims of those who may not read the drive any more; return the claims' ids.

    Wait for the end of their connections once *tx* is committed.
    """
    ended = [row.id for row in drive.claims if not access.may_read(row.holder, drive)]
    for number in ended:
        claim_rows.delete(tx, number)
    return ended


def require_type(drive: Drive, wanted: ClaimType) -> None:
    """Refuse to make a drive exclusive that is not held as an exclusive one could be.

    Raises:
        DriveBusy: several servers hold it, or one of another user.
    """
    if wanted is not ClaimType.EXCLUSIVE or drive.claim_type is ClaimType.EXCLUSIVE:
        return
    if len(drive.claims) > 1 or any(row.holder != drive.owner for row in drive.claims):
        raise DriveBusy(drive=drive.uuid, reason="servers share it; release them first")


def _access(pairs: Mapping[str, str], drive: Drive, caller: UUID) -> ClaimAccess:
    default = ClaimAccess.WRITE if drive.owner == caller else ClaimAccess.READ
    word = pairs.get("claim:access", default.value)
    try:
        return ClaimAccess(word)
    except ValueError as error:
        raise InvalidInput(reason="claim:access must be read or write") from error


def _require_claimable(drive: Drive, caller: UUID, server: UUID, wanted: ClaimAccess) -> None:
    if wanted is ClaimAccess.WRITE:
        access.owned(drive, caller, drive.uuid)
    others = [row for row in drive.claims if row.server != server]
    before = held_by(drive, server)
    if drive.claim_type is ClaimType.EXCLUSIVE:
        if drive.owner != caller:
            reason = "it is exclusive, and only its owner can claim it"
            raise DriveBusy(drive=drive.uuid, reason=reason)
        if others:
            raise DriveBusy(drive=drive.uuid, reason=f"server {others[0].server} holds it")
    if before is not None and caller not in (before.holder, drive.owner):
        raise DriveBusy(drive=drive.uuid, reason="the server holds it by another user's claim")
    if len(others) >= CLAIMS_MAX:
        raise DriveBusy(drive=drive.uuid, reason=f"{CLAIMS_MAX} servers hold it")
    _require_content(drive, wanted)


def _require_content(drive: Drive, wanted: ClaimAccess) -> None:
    if drive.imaging is not None and drive.imaging.is_active:
        raise DriveBusy(drive=drive.uuid, reason="it is being imaged")
    if wanted is ClaimAccess.WRITE:
        require_idle(drive)
    if failed_imaging(drive):
        raise DriveFaulted(drive=drive.uuid, reason="its imaging failed")
    require_sound(drive)


def _void(ctx: Context, found: Claim) -> None:
    """Let the claim have no ticket and no connection any more."""
    with ctx.catalog.write() as tx:
        claim_rows.void(tx, found.id)
    end_connections(ctx, found.drive, [found.id])


def end_connections(ctx: Context, drive: UUID, claims: Iterable[int]) -> None:
    """Wait until the connections of *claims*, which were ended or voided, are closed.

    Raises:
        DriveBusy: one is not.
    """
    if not ctx.end_sessions(claims):
        raise DriveBusy(drive=drive, reason="a connection to it does not end; try again")

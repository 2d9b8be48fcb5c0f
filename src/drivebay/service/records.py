"""The drive record: what info, create and set answer, key by key."""

from uuid import UUID

from drivebay.errors import DrivebayError, DriveNotFound
from drivebay.model import ClaimType, Drive, Job, JobState
from drivebay.service import access
from drivebay.service.context import Context, stored_size
from drivebay.wire import Record

UNNAMED = "00000000-0000-0000-0000-000000000000"
"""Stands in `claimed` for a drive or a server that the caller may not know of."""


def record(ctx: Context, drive: Drive, caller: UUID, *, full: bool = False) -> Record:
    """Return *drive* as *caller* is to see it; *full* adds what `/info/full` adds."""
    store = ctx.stores.get(drive.store)
    pairs: Record = {
        "drive": str(drive.uuid),
        "encryption:cipher": drive.cipher.value,
        "name": drive.name,
        "size": drive.size,
        "status": "active" if is_trusted(ctx, drive) else "inactive",
        "user": str(drive.owner),
    }
    pairs.update({f"user:{key}": value for key, value in drive.user_data.items()})
    optional = {
        "claim:type": "shared" if drive.claim_type is ClaimType.SHARED else "",
        "claimed": " ".join(_claimed(ctx, drive, caller)),
        "fault": drive.fault,
        "readers": " ".join(drive.readers),
        "tags": " ".join(drive.tags),
        "tier": drive.tier,
    }
    pairs.update({key: value for key, value in optional.items() if value})
    if drive.imaging is not None:
        pairs.update(_imaging(drive.imaging, full=full))
    totals = ctx.counters.totals(drive.id)
    pairs.update(
        {
            "read:bytes": str(totals.read_bytes),
            "read:requests": str(totals.read_requests),
            "write:bytes": str(totals.write_bytes),
            "write:requests": str(totals.write_requests),
        }
    )
    if drive.standard is not None:
        pairs.update(_standard(drive))
    if full:
        pairs["store"] = drive.store
        if store is not None:
            pairs["store:domain"] = store.domain
    return pairs


def is_trusted(ctx: Context, drive: Drive) -> bool:
    """Whether the drive's content is what was put there: what `status` says."""
    imaging = drive.imaging
    if drive.fault or (imaging is not None and imaging.state is JobState.FAILED):
        return False
    store = ctx.stores.get(drive.store)
    try:
        return store is not None and store.has(drive.uuid, stored_size(drive.size, drive.cipher))
    except DrivebayError:
        return False


def _claimed(ctx: Context, drive: Drive, caller: UUID) -> list[str]:
    owns = caller == drive.owner
    peers = [
        str(claim.server) if owns or caller == claim.holder else UNNAMED for claim in drive.claims
    ]
    for job in drive.active_jobs:
        peer, owner = job.source, job.source_owner
        if peer == drive.uuid:
            peer, owner = job.drive, job.drive_owner
        # The owner of the destination named the source, so knows both.
        knows = caller in (job.drive_owner, owner) or _may_know(ctx, caller, peer)
        peers.append(str(peer) if knows else UNNAMED)
    return list(dict.fromkeys(peers))


def _may_know(ctx: Context, caller: UUID, uuid: UUID) -> bool:
    try:
        access.readable(ctx.rows.drive(uuid), caller, uuid)
    except DriveNotFound:
        return False
    return True


def _imaging(job: Job, *, full: bool) -> Record:
    match job.state:
        case JobState.QUEUED:
            return {"imaging": "queued"}
        case JobState.RUNNING:
            percent = job.position * 100 // max(1, job.total)
            return {"imaging": f"{percent}%" if full else "true"}
        case JobState.FAILED:
            return {"imaging": "failed", "imaging:error": job.error}


def _standard(drive: Drive) -> Record:
    standard = drive.standard
    if standard is None:
        return {}
    pairs: Record = {"media": standard.media}
    if standard.format:
        pairs["format"] = standard.format
    if standard.rawsize is not None:
        pairs["rawsize"] = str(standard.rawsize)
    return pairs

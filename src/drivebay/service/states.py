"""What the state of a drive allows: is it in use, and can its content be trusted."""

from drivebay.errors import DriveBusy, DriveFaulted
from drivebay.model import ClaimType, Drive, JobState


def require_idle(drive: Drive) -> None:
    """Refuse a change to a drive that is in use.

    Raises:
        DriveBusy: an imaging job holds it, as destination or source.
    """
    for job in drive.active_jobs:
        role = "being imaged" if job.drive == drive.uuid else "the source of an imaging"
        raise DriveBusy(drive=drive.uuid, reason=f"it is {role}")


def require_unclaimed(drive: Drive) -> None:
    """Refuse a change of what the drive is while servers use it.

    Raises:
        DriveBusy: a server holds it.
    """
    for claim in drive.claims:
        raise DriveBusy(drive=drive.uuid, reason=f"server {claim.server} holds it")


def require_writable(drive: Drive) -> None:
    """Refuse a write to a drive that a server has for itself.

    Raises:
        DriveBusy: it is claimed, and not shared.
    """
    if drive.claim_type is ClaimType.EXCLUSIVE:
        require_unclaimed(drive)


def failed_imaging(drive: Drive) -> bool:
    """Whether the last imaging of *drive* failed and nothing was put there since."""
    return drive.imaging is not None and drive.imaging.state is JobState.FAILED


def require_sound(drive: Drive) -> None:
    """Refuse to build on content that a failed flush has left in doubt.

    Raises:
        DriveFaulted: it has.
    """
    if drive.fault:
        raise DriveFaulted(drive=drive.uuid, reason=drive.fault)

"""Who may touch which drive: the one place that decides it.

What one may not see is answered exactly like what does not exist.
"""

from uuid import UUID

from drivebay.errors import DriveNotFound
from drivebay.model import EVERYONE, Drive, DriveState


def may_read(caller: UUID, drive: Drive) -> bool:
    """Whether *caller* may see the drive, read it and image from it."""
    return drive.owner == caller or EVERYONE in drive.readers or str(caller) in drive.readers


def readable(drive: Drive | None, caller: UUID, uuid: UUID) -> Drive:
    """Return *drive*, which the catalog has under *uuid*, if *caller* may read it.

    Raises:
        DriveNotFound: there is none.
    """
    if drive is None or drive.state is not DriveState.READY or not may_read(caller, drive):
        raise DriveNotFound(drive=str(uuid))
    return drive


def owned(drive: Drive | None, caller: UUID, uuid: UUID) -> Drive:
    """Return *drive*, which the catalog has under *uuid*, if *caller* owns it and so may change it.

    Raises:
        DriveNotFound: there is none.
    """
    if drive is None or drive.state is not DriveState.READY or drive.owner != caller:
        raise DriveNotFound(drive=str(uuid))
    return drive

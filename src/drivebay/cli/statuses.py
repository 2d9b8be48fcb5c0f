"""Exit statuses: what they mean, and the one table that gives every failure its own."""

from enum import IntEnum
from typing import Self

from drivebay import errors as service
from drivebay.client import errors as client


class ExitStatus(IntEnum):
    """What a command ends with; a status that is not listed means that it failed."""

    DONE = 0, "done"
    FAILED = 1, "failed"
    USAGE = 2, "wrong usage: an option, an argument, a setting or a value"
    NOT_FOUND = 3, "not found: no such drive, or none that you may see"
    NOT_ALLOWED = 4, "not authenticated, or not allowed"
    TEMPORARY = 5, "temporary: the server cannot be reached or cannot answer now; try again"
    CONFLICT = 6, "conflict: the drive is busy, imaging or claimed"
    NO_ROOM = 7, "no space, or no quota for it"
    STARTED = 8, "started and still running (--no-wait)"
    UNVERIFIED = 9, "verification failed: what was read back differs"
    INTERRUPTED = 130, "interrupted with Ctrl-C"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Keep *meaning* beside the number."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status


STATUSES: dict[type[Exception], ExitStatus] = {
    client.ApiError: ExitStatus.FAILED,
    client.RequestRefused: ExitStatus.USAGE,
    client.NotAllowed: ExitStatus.NOT_ALLOWED,
    client.NoRoom: ExitStatus.NO_ROOM,
    client.NotFound: ExitStatus.NOT_FOUND,
    client.Conflict: ExitStatus.CONFLICT,
    client.ServerFailed: ExitStatus.FAILED,
    client.Unavailable: ExitStatus.TEMPORARY,
    client.ConnectionFailed: ExitStatus.TEMPORARY,
    client.TlsFailed: ExitStatus.FAILED,
    client.BadReply: ExitStatus.FAILED,
    client.TransferFailed: ExitStatus.FAILED,
    client.VerificationFailed: ExitStatus.UNVERIFIED,
    client.ImagingFailed: ExitStatus.FAILED,
    client.LocalFailed: ExitStatus.FAILED,
    client.SettingsRefused: ExitStatus.USAGE,
    client.NoCredentials: ExitStatus.NOT_ALLOWED,
    client.Interrupted: ExitStatus.INTERRUPTED,
    service.InvalidInput: ExitStatus.USAGE,
    service.DrivebayError: ExitStatus.FAILED,
}


def status_of(failure: BaseException) -> ExitStatus:
    """Return the exit status of *failure*; a failed piece ends as the failure behind it does."""
    if isinstance(failure, client.TransferFailed) and failure.__cause__ is not None:
        return status_of(failure.__cause__)
    for kind in type(failure).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return ExitStatus.FAILED

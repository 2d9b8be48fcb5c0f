"""Every failure that drivebay names.  They know no protocol: each edge has one table for its own.

DrivebayError
├── InvalidInput             the caller's values are wrong
│   └── ReadPastEnd          a read reaches past the drive's end
├── NotAuthenticated         credentials are missing or wrong
├── QuotaExceeded            the owner's quota does not cover it
├── DriveNotFound            no such drive, or not the caller's to know
├── ClaimNotFound            the server does not hold the drive
├── ClaimEnded               the claim that a connection uses does not hold any more
├── DriveBusy                the drive is imaging, claimed or otherwise in use
├── OutOfSpace               something is too small or full
│   ├── WritePastEnd         a write reaches past the drive's end
│   ├── DestinationTooSmall  what is to be imaged is longer
│   ├── StoreFull            the store has no room left
│   └── NoStoreLeft          every store is in a domain to avoid
├── StorageFailed            the store answered an operation with an error
├── DriveFaulted             the volume's content cannot be trusted
├── CatalogFailed            the metadata database answered with an error
└── SetupFailed              the service cannot start or a command cannot run as configured

``str(failure)`` and the notes are safe to show to the caller; what is not goes into the cause, which
only logs print.
"""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(kw_only=True, eq=False)
class DrivebayError(Exception):
    """A failure with fields, a stable code and a sentence."""

    code: ClassVar[str] = "failed"

    def __str__(self) -> str:
        return self.code.replace("_", " ")


@dataclass(kw_only=True, eq=False)
class InvalidInput(DrivebayError):
    """The caller's values are wrong; nothing was changed."""

    code = "invalid_input"

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(kw_only=True, eq=False)
class ReadPastEnd(InvalidInput):
    """A read reaches past the drive's end."""

    code = "read_past_end"

    reason: str = ""
    drive: UUID
    offset: int
    length: int
    size: int

    def __str__(self) -> str:
        end = self.offset + self.length
        return (
            f"range {self.offset}..{end} reaches past the end of drive {self.drive} at {self.size}"
        )


@dataclass(kw_only=True, eq=False)
class NotAuthenticated(DrivebayError):
    """Credentials are missing or wrong."""

    code = "not_authenticated"

    def __str__(self) -> str:
        return "give your user uuid and API key with HTTP Basic authentication"


@dataclass(kw_only=True, eq=False)
class QuotaExceeded(DrivebayError):
    """The owner's quota does not cover the change."""

    code = "quota_exceeded"

    what: str
    used: int
    wanted: int
    quota: int

    def __str__(self) -> str:
        return (
            f"your quota of {self.quota} {self.what} does not cover this:"
            f" {self.used} in use and {self.wanted} more wanted"
        )


@dataclass(kw_only=True, eq=False)
class DriveNotFound(DrivebayError):
    """There is no such drive, or the caller may not know of it: the two look the same."""

    code = "drive_not_found"

    drive: str

    def __str__(self) -> str:
        return f"drive {self.drive} not found"


@dataclass(kw_only=True, eq=False)
class ClaimNotFound(DrivebayError):
    """The server does not hold the drive, or by a claim that is not the caller's to end."""

    code = "claim_not_found"

    drive: UUID
    server: UUID

    def __str__(self) -> str:
        return f"server {self.server} does not hold drive {self.drive}"


@dataclass(kw_only=True, eq=False)
class ClaimEnded(DrivebayError):
    """The claim that a connection uses was released or renewed, or its holder shut out."""

    code = "claim_ended"

    drive: UUID

    def __str__(self) -> str:
        return f"the claim on drive {self.drive} does not hold any more"


@dataclass(kw_only=True, eq=False)
class DriveBusy(DrivebayError):
    """The drive's state does not allow the call now."""

    code = "drive_busy"

    drive: UUID
    reason: str

    def __str__(self) -> str:
        return f"drive {self.drive} is busy: {self.reason}"


@dataclass(kw_only=True, eq=False)
class OutOfSpace(DrivebayError):
    """Something is too small or full."""

    code = "out_of_space"

    reason: str = ""

    def __str__(self) -> str:
        return self.reason


@dataclass(kw_only=True, eq=False)
class WritePastEnd(OutOfSpace):
    """A write reaches past the drive's end.

    *in_place* bytes from *offset* were stored before the end was met; 0 unless the body was
    longer than one piece and its decoded length was not known beforehand.
    """

    code = "write_past_end"

    drive: UUID
    offset: int
    size: int
    in_place: int = 0

    def __str__(self) -> str:
        stored = f"{self.in_place} bytes are in place" if self.in_place else "nothing was written"
        return (
            f"the write at {self.offset} reaches past the end of drive {self.drive}"
            f" at {self.size}; {stored}"
        )


@dataclass(kw_only=True, eq=False)
class DestinationTooSmall(OutOfSpace):
    """What is to be imaged is longer than the *size* bytes of the destination."""

    code = "destination_too_small"

    size: int

    def __str__(self) -> str:
        return f"the destination is too small at {self.size} bytes"


@dataclass(kw_only=True, eq=False)
class StoreFull(OutOfSpace):
    """The store has no room left; after a write the range holds old bytes, new bytes or a mix."""

    code = "store_full"

    store: str

    def __str__(self) -> str:
        return f"store {self.store} is full"


@dataclass(kw_only=True, eq=False)
class NoStoreLeft(OutOfSpace):
    """Every store lies in a failure domain that is to be avoided, or is unreachable."""

    code = "no_store_left"

    def __str__(self) -> str:
        return self.reason or "no store is reachable"


@dataclass(kw_only=True, eq=False)
class StorageFailed(DrivebayError):
    """The store answered an operation with an error.

    After a failed write the range holds old bytes, new bytes or a mix.  After a failed flush the
    volume's content cannot be trusted.
    """

    code = "storage_failed"

    operation: str
    offset: int | None = None

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at offset {self.offset}"
        return f"the store failed to {self.operation}{where}"


@dataclass(kw_only=True, eq=False)
class DriveFaulted(DrivebayError):
    """The volume's content cannot be trusted until an operator or a new image says otherwise."""

    code = "drive_faulted"

    drive: UUID
    reason: str

    def __str__(self) -> str:
        return f"drive {self.drive} is out of service: {self.reason}"


@dataclass(kw_only=True, eq=False)
class CatalogFailed(DrivebayError):
    """The metadata database answered with an error; the change was not made."""

    code = "catalog_failed"

    def __str__(self) -> str:
        return "the catalog failed; the change was not made"


@dataclass(kw_only=True, eq=False)
class SetupFailed(DrivebayError):
    """The service cannot start, or a command cannot run, as configured."""

    code = "setup_failed"

    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return self.reason

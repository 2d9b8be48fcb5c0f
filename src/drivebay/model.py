"""What drivebay talks about: drives, users, imaging jobs, and the limits on what they carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from drivebay.units import MIB

EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""The user that stands for all users in `readers`."""

TRANSFER_MAX = 4 * MIB
"""The longest read, and the piece in which longer writes are applied (the API's 4 MB)."""

NAME_LENGTH_MAX = 255
KEY_LENGTH_MAX = 128
VALUE_LENGTH_MAX = 4096
USER_KEYS_MAX = 100
TAGS_MAX = 64
READERS_MAX = 256
AVOID_MAX = 256
CLAIMS_MAX = 256


class Cipher(StrEnum):
    """How a drive is encrypted at rest, in the API's words."""

    NONE = "none"
    AES_XTS = "aes-xts-plain"


class ClaimType(StrEnum):
    """How many servers may hold the drive at once."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class ClaimAccess(StrEnum):
    """What a server may do with the drive that it holds."""

    READ = "read"
    WRITE = "write"


class Conversion(StrEnum):
    """What imaging does to the bytes on their way."""

    NONE = ""
    GZIP = "gzip"
    GUNZIP = "gunzip"


class DriveState(StrEnum):
    """The catalog's record of intent: only `ready` drives exist for callers."""

    CREATING = "creating"
    READY = "ready"
    DESTROYING = "destroying"


class JobState(StrEnum):
    """Where an imaging job stands.  A finished job has no row."""

    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Imaging of *drive* from *source*: underway, waiting or failed.

    *position* counts the source's bytes that are durably done, of *total*.
    """

    id: int
    drive: UUID
    drive_owner: UUID
    source: UUID
    source_owner: UUID
    conversion: Conversion
    state: JobState
    position: int
    total: int
    cancelled: bool = False
    error: str = ""

    @property
    def is_active(self) -> bool:
        """Whether the job still holds its two drives."""
        return self.state is not JobState.FAILED


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A server's hold on *drive*, made by the user *holder*.

    *id* is never used again.  *ticket_hash* is None where no ticket opens the drive any more.
    """

    id: int
    drive: UUID
    server: UUID
    holder: UUID
    access: ClaimAccess
    ticket_hash: bytes | None


@dataclass(frozen=True, kw_only=True)
class Standard:
    """What a standard drive's record says beyond the usual: shown only where set."""

    media: str = "disk"
    format: str = ""
    rawsize: int | None = None


@dataclass(frozen=True, kw_only=True)
class Drive:
    """One drive as the catalog records it.

    *id* is the catalog's own number, never used again: the drive's place in the counter files.
    *jobs* are the imaging jobs that the drive is the destination or the source of, *claims* those
    of servers, oldest first.
    """

    id: int = 0
    uuid: UUID
    owner: UUID
    name: str
    size: int
    cipher: Cipher = Cipher.AES_XTS
    claim_type: ClaimType = ClaimType.EXCLUSIVE
    readers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    user_data: Mapping[str, str] = field(default_factory=dict)
    tier: str = ""
    store: str
    state: DriveState = DriveState.READY
    wrapped_key: bytes | None = None
    fault: str = ""
    standard: Standard | None = None
    jobs: tuple[Job, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def imaging(self) -> Job | None:
        """The job that images onto this drive, failed ones included."""
        return next((job for job in self.jobs if job.drive == self.uuid), None)

    @property
    def active_jobs(self) -> tuple[Job, ...]:
        """The jobs that hold this drive now, as destination or source."""
        return tuple(job for job in self.jobs if job.is_active)


@dataclass(frozen=True, kw_only=True)
class User:
    """An account.  A quota of None has no limit."""

    uuid: UUID
    name: str
    key_hash: bytes
    enabled: bool = True
    quota_drives: int | None = None
    quota_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a user's drives add up to."""

    drives: int
    size_bytes: int

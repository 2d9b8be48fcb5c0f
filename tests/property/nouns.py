"""What the model is made of: users, drives, jobs, the bodies that are sent and the replies."""

from dataclasses import dataclass, field
from typing import Any, Literal

from property.content import Content
from property.fields import Refused, usage

PIECE = 4 * 1024 * 1024
Record = dict[str, str | int]
Shape = Literal["nothing", "record", "records", "uuids", "bytes"]


@dataclass
class User:
    name: str
    uuid: str
    key: str
    enabled: bool = True
    drives: int | None = None
    size_bytes: int | None = None


@dataclass(eq=False)
class Claim:
    """A server's hold on a drive; *ticket* opens it, and is empty where none does."""

    server: str
    holder: str
    access: str
    ticket: str = ""


@dataclass(eq=False)
class Drive:
    uuid: str
    owner: str
    name: str
    content: Content
    cipher: str
    claim_type: str
    readers: list[str]
    tags: list[str]
    user: dict[str, str]
    tier: str
    places: list[str]
    store: str = ""
    standard: dict[str, str] | None = None
    claims: list[Claim] = field(default_factory=list)
    read: list[int] = field(default_factory=lambda: [0, 0])
    written: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def size(self) -> int:
        return self.content.size


@dataclass(eq=False)
class Job:
    """Imaging that waits, runs or has failed.

    *begun* says that the drive may hold some of the source; *before* is the error of the failed
    imaging whose place the job took.
    """

    drive: Drive
    source: Drive
    conversion: str
    state: Literal["queued", "running", "failed"] = "queued"
    begun: bool = False
    position: int = 0
    error: str = ""
    before: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer of 200, or of 204 when its shape is nothing."""

    shape: Shape = "nothing"
    value: Any = None


@dataclass(frozen=True)
class Upload:
    """The body of a write: *data* as the wire has it, of which *sent* bytes arrive."""

    data: bytes
    coding: str = ""
    has_length: bool = True
    sent: int | None = None
    then: Literal["end", "hang up", "stall"] = "end"

    @property
    def is_gzip(self) -> bool:
        return self.coding.lower() in {"gzip", "x-gzip"}

    @property
    def arrived(self) -> bytes:
        return self.data if self.then == "end" else self.data[: self.sent]

    @property
    def broken_off(self) -> Refused | None:
        failures = {"hang up": usage(), "stall": Refused(408, "usage")}
        return failures.get(self.then)

"""What clients did to drives, and when: the histories that `checker` judges."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from math import inf

Tag = Hashable
"""What one unit of a drive holds: who wrote it, or `ZERO`."""

ZERO = "zero"
"""What every unit holds at first."""


class Kind(Enum):
    """What an operation does."""

    WRITE = "write"
    ZERO = "zero"
    READ = "read"
    IMAGE = "image"


class Outcome(Enum):
    """What the client was told."""

    OK = "ok"
    FAILED = "failed"
    """It did not take effect and never will."""

    UNKNOWN = "unknown"
    """No answer came: it takes effect at some time up to `returned`, or never."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on *count* units from *first* of a drive: all of them at one moment.

    The moment lies between *invoked* and *returned*, nanoseconds of one machine's clock.  One without
    an answer returns never, or when it is known that it will not take effect any more.  How long a
    unit is decides who records: a sector, or 512 bytes.
    """

    kind: Kind
    drive: str
    first: int
    count: int
    invoked: int
    returned: float = inf
    outcome: Outcome = Outcome.OK
    tag: Tag = None
    """What a write leaves in each unit."""

    seen: tuple[Tag, ...] = ()
    """What a read found in each unit."""

    source: str = ""
    """The drive whose units an image copies, each to the same place."""

    client: str = ""

    @property
    def end(self) -> int:
        return self.first + self.count

    def __post_init__(self) -> None:
        assert self.count > 0, self
        assert self.invoked <= self.returned, self
        assert self.returned < inf or self.outcome is Outcome.UNKNOWN, self
        is_answered_read = self.kind is Kind.READ and self.outcome is Outcome.OK
        assert len(self.seen) == (self.count if is_answered_read else 0), self
        assert (self.kind is Kind.WRITE) is (self.tag is not None), self
        assert (self.kind is Kind.IMAGE) is bool(self.source), self

    def __str__(self) -> str:
        where = f"{self.drive} {span(self.first, self.end)}"
        match self.kind:
            case Kind.WRITE:
                return f"write {where} := {self.tag}"
            case Kind.ZERO:
                return f"zero  {where}"
            case Kind.IMAGE:
                return f"image {where} := {self.source}"
        if self.outcome is not Outcome.OK:
            return f"read  {where}"
        return f"read  {where} -> {runs(self.first, self.seen)}"


def span(first: int, end: int) -> str:
    """Name the units from *first* up to *end*."""
    return f"[{first}]" if end == first + 1 else f"[{first}..{end - 1}]"


def runs(first: int, tags: Iterable[Tag]) -> str:
    """Say which tag is in which units, neighbours with the same tag together."""
    parts, place = [], first
    for tag, group in groupby(tags):
        end = place + len(list(group))
        parts.append((place, end, tag))
        place = end
    if len(parts) == 1:
        return str(parts[0][2])
    return ", ".join(f"{span(place, end)} {tag}" for place, end, tag in parts)

"""A row of the table: what is measured, against what, and how a run goes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.stats import Sample, Series, Spread, best, ratio

if TYPE_CHECKING:
    from bench.rig import Rig

WARM_UP_S = 0.3
PART_S_MIN = 0.5


class BenchFailed(Exception):
    """A measurement is not worth anything; the message says why."""


@dataclass(frozen=True)
class Side:
    """One of those that are compared: measures for about so many seconds, more is better."""

    name: str
    measure: Callable[[float], Sample]


def _nothing_to_verify() -> str:
    return ""


@dataclass(frozen=True)
class Contest:
    """Ours and its peers, ready to be measured in turn.

    Those of *also* are measured and shown, but not compared with.  *verify* runs after the last
    round and returns a sentence that says what was found to be right.  Without peers the values
    themselves are judged, and less is better.
    """

    ours: Side
    peers: Sequence[Side] = ()
    also: Sequence[Side] = ()
    verify: Callable[[], str] = _nothing_to_verify

    @property
    def sides(self) -> list[Side]:
        """Ours first."""
        return [self.ours, *self.peers, *self.also]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    *needs* names the programs without which it cannot be run, *uses* those that are shown beside it
    where they are installed.  Each round is measured in so many *parts*, where the time allows it.
    """

    key: str
    what: str
    against: str
    unit: str
    floor: float
    goal: float
    build: Callable[["Rig"], Contest]
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    parts: int = 1
    is_quick: bool = False
    is_limit: bool = False
    note: str = ""

    def verdict(self, measured: float) -> str:
        """Return `goal`, `floor` or `below` (of a limit: `above`) for the *measured* ratio."""
        sign = -1 if self.is_limit else 1
        if sign * measured >= sign * self.goal:
            return "goal"
        if sign * measured >= sign * self.floor:
            return "floor"
        return "above" if self.is_limit else "below"


@dataclass(frozen=True)
class Result:
    """What came of one row; *missing* names programs that are not here, *failure* says why not."""

    row: Row
    ours: Series | None = None
    peers: tuple[Series, ...] = ()
    also: tuple[Series, ...] = ()
    verified: str = ""
    missing: tuple[str, ...] = ()
    failure: str = ""

    @property
    def series(self) -> list[Series]:
        """All that was measured, ours first."""
        return [*([self.ours] if self.ours else []), *self.peers, *self.also]

    @property
    def peer(self) -> Series | None:
        """The best of the peers."""
        return best(self.peers) if self.peers else None

    @property
    def measured(self) -> Spread | None:
        """The ratio, or the value itself where the row is a limit."""
        if self.ours is None:
            return None
        return ratio(self.ours, self.peer) if self.peer else self.ours.spread

    @property
    def verdict(self) -> str:
        """One word: goal, floor, below or above, missing, failed."""
        if self.measured is not None:
            return self.row.verdict(self.measured.median)
        return "missing" if self.missing else "failed"


@dataclass(frozen=True)
class Pace:
    """How long to measure; a quick one leaves out what is not compared with."""

    rounds: int
    seconds: float
    is_quick: bool = False

    def cut(self, parts: int) -> "Pace":
        """Return as much time in more rounds, so many times, of at least half a second each."""
        possible = max(1, min(parts, int(self.seconds / PART_S_MIN)))
        return replace(self, rounds=self.rounds * possible, seconds=self.seconds / possible)


Progress = Callable[[str], None]


def rounds(contest: Contest, pace: Pace, tell: Progress) -> Iterator[tuple[Side, Sample]]:
    """Warm up, then measure every side once a round, each second round in the opposite order."""
    for side in contest.sides:
        tell(f"warming up {side.name}")
        side.measure(min(WARM_UP_S, pace.seconds))
    for index in range(pace.rounds):
        for side in contest.sides[:: -1 if index % 2 else 1]:
            tell(f"round {index + 1} of {pace.rounds}: {side.name}")
            yield side, side.measure(pace.seconds)


def hold(row: Row, contest: Contest, pace: Pace, tell: Progress) -> Result:
    """Measure one row and verify what it moved.

    Raises:
        BenchFailed: the bytes are not those that were sent, or a side does not work.
    """
    if pace.is_quick:
        contest = replace(contest, also=())
    samples: dict[str, list[Sample]] = {side.name: [] for side in contest.sides}
    for side, sample in rounds(contest, pace.cut(row.parts), tell):
        samples[side.name].append(sample)
    tell("verifying")
    ours, *others = [Series(name, tuple(taken)) for name, taken in samples.items()]
    count = len(contest.peers)
    return Result(row, ours, tuple(others[:count]), tuple(others[count:]), contest.verify())


@dataclass
class Table:
    """The rows of one module, in their order."""

    rows: list[Row] = field(default_factory=list)

    def row(self, **facts: object) -> Callable[[Callable[["Rig"], Contest]], Row]:
        """Add the decorated function as a row: it builds the contest, *facts* are the row's."""

        def add(build: Callable[["Rig"], Contest]) -> Row:
            self.rows.append(Row(build=build, **facts))  # type: ignore[arg-type]
            return self.rows[-1]

        return add

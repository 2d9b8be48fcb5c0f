"""Medians, spreads and ratios of what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Sample:
    """One measurement in its row's unit, and what was seen beside it."""

    value: float
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """The median of some values, between the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of *values*, which are not empty."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Series:
    """The measurements of one side, one a round."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def spread(self) -> Spread:
        """The spread of the values."""
        return Spread.of([sample.value for sample in self.samples])

    @property
    def details(self) -> dict[str, float]:
        """The median of each detail that every round has."""
        shared = set.intersection(*(set(sample.details) for sample in self.samples))
        return {
            name: median(sample.details[name] for sample in self.samples)
            for name in self.samples[0].details
            if name in shared
        }


def best(peers: Sequence[Series]) -> Series:
    """Return the peer with the highest median; it is the one to be compared with."""
    return max(peers, key=lambda peer: peer.spread.median)


def ratio(ours: Series, peer: Series) -> Spread:
    """Return ours / peer, paired by round: what slowed a whole round cancels out."""
    pairs = zip(ours.samples, peer.samples, strict=True)
    return Spread.of([one.value / other.value for one, other in pairs])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that *percent* of the values do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]

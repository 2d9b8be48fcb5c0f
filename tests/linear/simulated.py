"""Histories of a store that does one thing after the other, and of stores that do not quite."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from random import Random

from linear.history import ZERO, Kind, Operation, Outcome, Tag

Held = dict[tuple[str, int], Tag]


@dataclass(frozen=True)
class Shape:
    """How clients use drives."""

    operations: int = 200
    clients: int = 4
    ranges: tuple[tuple[int, int], ...] = ((0, 1), (1, 1), (7, 1), (0, 8), (8, 1), (8, 8))
    """First unit and count of what they read and write."""

    reads: float = 0.5
    zeros: float = 0.05
    images: float = 0.0
    unknown: float = 0.0
    drives: tuple[str, ...] = ("a",)
    size: int = 16


@dataclass
class Planned:
    """An operation, and the moment at which the store does it."""

    operation: Operation
    moment: float


@dataclass
class Simulation:
    """A history in the making."""

    planned: list[Planned]
    random: Random
    torn: dict[int, float] = field(default_factory=dict)
    """By place in `planned`: when a read looks at its second half."""

    def history(self) -> list[Operation]:
        """Do everything in the order of its moments, and note what the reads see."""
        order: list[tuple[float, int, bool]] = []
        for place, each in enumerate(self.planned):
            order.append((each.moment, place, False))
            if place in self.torn:
                order.append((self.torn[place], place, True))
        held: Held = {}
        seen: dict[int, tuple[Tag, ...]] = {}
        for moment, place, is_second in sorted(order):
            operation = self.planned[place].operation
            if moment == inf:
                continue  # It never happens.
            if operation.kind is not Kind.READ:
                _change(held, operation)
                continue
            now = _content(held, operation.drive, operation)
            half = operation.count // 2
            if operation.outcome is Outcome.UNKNOWN:
                continue
            seen[place] = seen[place][:half] + now[half:] if is_second else now
        done = [each.operation for each in self.planned]
        return [_finished(each, seen.get(place)) for place, each in enumerate(done)]


class NothingToChange(Exception):
    """A history has no operation that a mutation could change."""


def simulate(random: Random, shape: Shape) -> Simulation:
    """Plan what clients do, each one thing after the other, with delays of any length."""
    planned = []
    for client in range(shape.clients):
        now = random.randrange(100)
        for number in range(shape.operations // shape.clients):
            now += random.randrange(1, 60)
            length = random.choice([3, 30, 300])
            operation = _operation(random, shape, f"{client}.{number}")
            moment = now + random.random() * length
            operation = replace(operation, client=str(client), invoked=now, returned=now + length)
            if random.random() < shape.unknown:
                operation = replace(operation, outcome=Outcome.UNKNOWN, seen=())
                moment = random.choice([inf, moment])
                if random.random() < 0.5:
                    late = moment + random.random() * 3000
                    operation, moment = replace(operation, returned=inf), late
            planned.append(Planned(operation, moment))
            now += length
    return Simulation(planned, random)


# Each mutation raises NothingToChange where it has to.


def stale_read(made: Simulation) -> None:
    """Let a read see what was there some time before its call."""
    victim = _pick(made, lambda one: one.kind is Kind.READ)
    victim.moment = victim.operation.invoked - made.random.randrange(1, 600)


def torn_read(made: Simulation) -> None:
    """Let a read look at its first half before a change to all of it, at the second after it."""
    moments = [
        each.moment
        for each in made.planned
        if each.operation.kind is Kind.WRITE and each.operation.count > 1
    ]
    victim = _pick(
        made,
        lambda one: (
            one.kind is Kind.READ
            and one.count > 1
            and any(one.invoked < moment < one.returned for moment in moments)
        ),
    )
    victim.moment = victim.operation.invoked
    made.torn[made.planned.index(victim)] = victim.operation.returned


def dropped_write(made: Simulation) -> None:
    """Let a write be answered that never happens."""
    victim = _pick(made, lambda one: one.kind is Kind.WRITE)
    victim.moment = inf


def late_write(made: Simulation) -> None:
    """Let a write happen only after its answer."""
    victim = _pick(made, lambda one: one.kind is Kind.WRITE)
    victim.moment = victim.operation.returned + made.random.randrange(1, 600)


def reordered_writes(made: Simulation) -> None:
    """Let two writes to one place happen in each other's stead."""
    victim = _pick(made, lambda one: one.kind is Kind.WRITE)
    later = [
        each
        for each in made.planned
        if each.operation.kind is Kind.WRITE
        and each.operation.first == victim.operation.first
        and each.operation.invoked > victim.operation.returned
    ]
    if later:
        other = min(later, key=lambda each: each.moment)
        victim.moment, other.moment = other.moment, victim.moment


MUTATIONS: list[Callable[[Simulation], None]] = [
    stale_read,
    torn_read,
    dropped_write,
    late_write,
    reordered_writes,
]


def _pick(made: Simulation, suits: Callable[[Operation], bool]) -> Planned:
    answered = [each for each in made.planned if each.operation.outcome is Outcome.OK]
    suitable = [each for each in answered if suits(each.operation)]
    if not suitable:
        raise NothingToChange
    return made.random.choice(suitable)


def _operation(random: Random, shape: Shape, tag: str) -> Operation:
    first, count = random.choice(shape.ranges)
    drive = random.choice(shape.drives)
    what = random.random()
    place = {"drive": drive, "first": first, "count": count, "invoked": 0}
    if what < shape.reads:
        return _unread(place)
    if what < shape.reads + shape.zeros:
        return Operation(kind=Kind.ZERO, returned=0, **place)
    if what < shape.reads + shape.zeros + shape.images:
        whole = place | {"first": 0, "count": shape.size}
        source = random.choice([one for one in shape.drives if one != drive])
        return Operation(kind=Kind.IMAGE, source=source, returned=0, **whole)
    return Operation(kind=Kind.WRITE, tag=tag, returned=0, **place)


def _unread(place) -> Operation:
    """A read that has seen nothing yet; what it sees is filled in when it is done."""
    return Operation(kind=Kind.READ, seen=(ZERO,) * place["count"], returned=0, **place)


def _finished(operation: Operation, seen: tuple[Tag, ...] | None) -> Operation:
    return operation if seen is None else replace(operation, seen=seen)


def _change(held: Held, operation: Operation) -> None:
    places = range(operation.first, operation.end)
    match operation.kind:
        case Kind.WRITE:
            tags = (operation.tag,) * operation.count
        case Kind.ZERO:
            tags = (ZERO,) * operation.count
        case _:
            tags = _content(held, operation.source, operation)
    held |= {(operation.drive, place): tag for place, tag in zip(places, tags, strict=True)}


def _content(held: Held, drive: str, operation: Operation) -> tuple[Tag, ...]:
    return tuple(held.get((drive, place), ZERO) for place in range(operation.first, operation.end))

"""Parts a history: units that are only ever touched together are one register, and registers
that no operation ties together are judged alone."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from linear.history import ZERO, Kind, Operation, Outcome, Tag

Register = tuple[str, int, int]
"""A drive, its first unit, and the one after its last."""


@dataclass(frozen=True)
class Mixed:
    """What was seen in a register that is only ever written whole, and can never hold."""

    tags: tuple[Tag, ...]


@dataclass
class Step:
    """One operation as registers see it, which are numbered from 0."""

    operation: Operation
    sees: dict[int, Tag] = field(default_factory=dict)
    puts: dict[int, Tag] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)
    """From which register comes what a register holds after it."""

    @property
    def touched(self) -> set[int]:
        return {*self.sees, *self.puts, *self.copies, *self.copies.values()}


def related(history: Iterable[Operation]) -> Iterator[tuple[list[Register], list[Step]]]:
    """Part a history into parts that share no register.

    It is linearizable if and only if each of them is, because each is an object of its own.
    """
    kept = [operation for operation in history if _counts(operation)]
    registers = _registers(kept)
    steps = _Steps(registers)
    made = [steps.of(operation) for operation in kept]
    leader = list(range(len(registers)))

    def find(register: int) -> int:
        while leader[register] != register:
            leader[register] = leader[leader[register]]
            register = leader[register]
        return register

    for step in made:
        first, *others = step.touched
        for other in others:
            leader[find(other)] = find(first)
    parts: dict[int, list[Step]] = defaultdict(list)
    for step in made:
        parts[find(next(iter(step.touched)))].append(step)
    for found in parts.values():
        numbers = sorted({number for step in found for number in step.touched})
        again = {number: index for index, number in enumerate(numbers)}
        yield [registers[number] for number in numbers], [_renamed(step, again) for step in found]


def _counts(operation: Operation) -> bool:
    """Whether it says anything: what failed did nothing, and a read without an answer too."""
    if operation.kind is Kind.READ:
        return operation.outcome is Outcome.OK
    return operation.outcome is not Outcome.FAILED


def _registers(history: list[Operation]) -> list[Register]:
    cuts: dict[str, set[int]] = defaultdict(set)
    for operation in history:
        for drive in {operation.drive, operation.source or operation.drive}:
            cuts[drive] |= {operation.first, operation.end}
    # Where an image's source is parted its target is too, and the other way.
    images = [operation for operation in history if operation.kind is Kind.IMAGE]
    is_growing = True
    while is_growing:
        is_growing = False
        for image in images:
            source, target = cuts[image.source], cuts[image.drive]
            both = {cut for cut in source | target if image.first <= cut <= image.end}
            if not (both <= source and both <= target):
                is_growing = True
                source |= both
                target |= both
    return [
        (drive, first, end)
        for drive, found in sorted(cuts.items())
        for first, end in zip(sorted(found), sorted(found)[1:], strict=False)
    ]


class _Steps:
    """Makes steps of operations."""

    def __init__(self, registers: list[Register]) -> None:
        self._registers = registers
        self._starts = [(drive, first) for drive, first, _ in registers]

    def of(self, operation: Operation) -> Step:
        inside = self._inside(operation.drive, operation)
        match operation.kind:
            case Kind.READ:
                return Step(operation, sees={each: self._seen(each, operation) for each in inside})
            case Kind.WRITE:
                return Step(operation, puts=dict.fromkeys(inside, operation.tag))
            case Kind.ZERO:
                return Step(operation, puts=dict.fromkeys(inside, ZERO))
        sources = self._inside(operation.source, operation)
        return Step(operation, copies=dict(zip(inside, sources, strict=True)))

    def _inside(self, drive: str, operation: Operation) -> range:
        first = bisect_left(self._starts, (drive, operation.first))
        return range(first, bisect_left(self._starts, (drive, operation.end)))

    def _seen(self, register: int, operation: Operation) -> Tag:
        _, first, end = self._registers[register]
        tags = operation.seen[first - operation.first : end - operation.first]
        return tags[0] if len(set(tags)) == 1 else Mixed(tags)


def _renamed(step: Step, again: dict[int, int]) -> Step:
    return Step(
        step.operation,
        sees={again[register]: tag for register, tag in step.sees.items()},
        puts={again[register]: tag for register, tag in step.puts.items()},
        copies={again[one]: again[other] for one, other in step.copies.items()},
    )

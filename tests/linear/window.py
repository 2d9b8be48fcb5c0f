"""Says why a history is not linearizable, in as few operations as show it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice, product
from math import inf

from linear.checker import Effort, Undecided, is_linearizable, offending_part
from linear.history import ZERO, Kind, Operation, Outcome, Tag, runs
from linear.parts import related

ALLOWED_MAX = 256
"""How many contents are tried to find those that the last read might have seen."""


@dataclass(frozen=True)
class Window:
    """Operations that contradict each other, whatever else happened."""

    operations: tuple[Operation, ...]
    allowed: tuple[str, ...]
    """What the read that was answered last might have seen instead."""

    def __str__(self) -> str:
        begin = min(operation.invoked for operation in self.operations)
        lines = [f"not linearizable: {len(self.operations)} operations contradict each other"]
        lines += [_line(operation, begin) for operation in self.operations]
        lines += [f"  the last read might have seen: {one}" for one in self.allowed]
        return "\n".join(lines)


def offending_window(history: Iterable[Operation]) -> Window | None:
    """Return a window of a history that is not linearizable, None if it is.

    None of the window's operations can be left out: the rest would be linearizable.  Only where the
    history is very tangled it may be larger than it need be.
    """
    part = offending_part(history)
    if part is None:
        return None
    effort = Effort()
    window = _smallest(_shortest(part, effort), effort)
    window.sort(key=lambda operation: operation.invoked)
    return Window(tuple(window), tuple(_allowed(window)))


def _line(operation: Operation, begin: int) -> str:
    start = (operation.invoked - begin) / 1000
    end = "no answer"
    if operation.outcome is Outcome.OK:
        end = f"{(operation.returned - begin) / 1000:.1f}"
    return f"  {start:12.1f} .. {end:>12} us  {operation.client:12} {operation}"


def _is_wrong(history: list[Operation], effort: Effort) -> bool:
    try:
        return not is_linearizable(history, effort)
    except Undecided:
        return False  # It may be wrong too, but does not show it.


def _is_right(history: list[Operation]) -> bool:
    try:
        return is_linearizable(history, Effort(1000))
    except Undecided:
        return False


def _shortest(history: list[Operation], effort: Effort) -> list[Operation]:
    """Return the history up to the first answer with which it is wrong.

    No more answers can mend a history, so that answer is found by halving.
    """
    answers = sorted(each.returned for each in history if each.returned < inf)
    low, high = 0, len(answers) - 1
    while low < high:
        middle = (low + high) // 2
        if _is_wrong(_until(history, answers[middle]), effort):
            high = middle
        else:
            low = middle + 1
    shortest = _until(history, answers[high])
    return shortest if _is_wrong(shortest, effort) else history


def _until(history: list[Operation], moment: float) -> list[Operation]:
    """Return what was known at a moment."""
    begun = [operation for operation in history if operation.invoked <= moment]
    return [each if each.returned <= moment else _unanswered(each) for each in begun]


def _unanswered(operation: Operation) -> Operation:
    return replace(operation, returned=inf, outcome=Outcome.UNKNOWN, seen=())


def _smallest(history: list[Operation], effort: Effort) -> list[Operation]:
    """Leave operations out, many at a time and then each, for as long as the rest is wrong."""
    step = max(1, len(history) // 2)
    while True:
        before = len(history)
        for start in range(before - step, -step, -step):
            fewer = _without(history, history[max(0, start) : start + step])
            if len(fewer) < len(history) and _is_wrong(fewer, effort):
                history = fewer
        if step == 1 and len(history) == before:
            return history
        step = max(1, step // 2)


def _without(history: list[Operation], unwanted: list[Operation]) -> list[Operation]:
    """Leave out those unwanted operations without which a right history would be right still.

    That is every read, and what changed a drive if no read that is left may have seen it.
    """
    leaving = {id(one) for one in unwanted}
    left = [one for one in history if one.kind is not Kind.READ or id(one) not in leaving]
    reads = [one for one in left if one.kind is Kind.READ]
    images = [one for one in left if one.kind is Kind.IMAGE]
    kept: list[Operation] = []
    for place, one in enumerate(left):
        others = [*kept, *left[place + 1 :]]
        if id(one) not in leaving or _matters(one, others, reads, images):
            kept.append(one)
    return kept


def _matters(
    change: Operation,
    others: list[Operation],
    reads: list[Operation],
    images: list[Operation],
) -> bool:
    """Whether any read may have seen a change."""
    if change.kind is Kind.READ:
        return True
    if change.kind is Kind.IMAGE:
        used = {one.drive for one in reads} | {one.source for one in images}
        return change.drive in used
    tag = ZERO if change.kind is Kind.ZERO else change.tag
    if images:
        return any(tag in read.seen for read in reads)
    seeing = [read for read in reads if tag in _seen_inside(read, change)]
    if change.kind is Kind.WRITE or not seeing:
        return bool(seeing)
    soonest = min(read.invoked for read in seeing)
    return not any(_hides(other, change, soonest) for other in others)


def _hides(other: Operation, change: Operation, soonest: int) -> bool:
    """Whether *other* overwrote all of a change before the moment *soonest*."""
    return (
        other.kind is not Kind.READ
        and other.outcome is Outcome.OK
        and other.drive == change.drive
        and other.first <= change.first
        and other.end >= change.end
        and other.invoked > change.returned
        and other.returned < soonest
    )


def _seen_inside(read: Operation, change: Operation) -> tuple[Tag, ...]:
    if read.drive != change.drive:
        return ()
    return read.seen[max(0, change.first - read.first) : max(0, change.end - read.first)]


def _allowed(window: list[Operation]) -> list[str]:
    """Return what the last read might have seen, as far as it can be listed."""
    reads = [one for one in window if one.kind is Kind.READ and one.outcome is Outcome.OK]
    if not reads:
        return []
    last = max(reads, key=lambda read: read.returned)
    others = [one for one in window if one is not last]
    spans = sorted(
        (first - last.first, end - last.first)
        for registers, _ in related(window)
        for drive, first, end in registers
        if drive == last.drive and first < last.end and end > last.first
    )
    tags = [ZERO, *(one.tag for one in window if one.kind is Kind.WRITE)]
    tried = islice(product(dict.fromkeys(tags), repeat=len(spans)), ALLOWED_MAX)
    seen = (tuple(_spread(spans, each)) for each in tried)
    fitting = [each for each in seen if _is_right([*others, replace(last, seen=each)])]
    return [runs(last.first, each) for each in fitting]


def _spread(spans: list[tuple[int, int]], tags: Iterable[Tag]) -> list[Tag]:
    return [tag for (first, end), tag in zip(spans, tags, strict=True) for _ in range(first, end)]

"""Short ways to write histories down by hand."""

from dataclasses import replace
from itertools import permutations, product
from math import inf

from linear.history import ZERO, Kind, Operation, Outcome, Tag

NEVER = inf


def write(
    invoked: int, returned: float, tag: Tag, first: int = 0, count: int = 1, drive: str = "a"
) -> Operation:
    return _made(Kind.WRITE, invoked, returned, drive, first, count, tag=tag)


def zero(
    invoked: int, returned: float, first: int = 0, count: int = 1, drive: str = "a"
) -> Operation:
    return _made(Kind.ZERO, invoked, returned, drive, first, count)


def read(invoked: int, returned: float, *seen: Tag, first: int = 0, drive: str = "a") -> Operation:
    return _made(Kind.READ, invoked, returned, drive, first, len(seen), seen=seen)


def image(invoked: int, returned: float, drive: str, source: str, count: int) -> Operation:
    return _made(Kind.IMAGE, invoked, returned, drive, 0, count, source=source)


def doubtful(operation: Operation) -> Operation:
    """Return an operation that has happened when it returns, or never does."""
    return replace(operation, outcome=Outcome.UNKNOWN, seen=())


def _made(kind, invoked, returned, drive, first, count, **more) -> Operation:
    outcome = Outcome.UNKNOWN if returned == NEVER else Outcome.OK
    return Operation(
        kind=kind,
        drive=drive,
        first=first,
        count=count,
        invoked=invoked,
        returned=returned,
        outcome=outcome,
        **more,
    )


def fits_some_order(history: list[Operation]) -> bool:
    """Judge a few operations by what linearizable means, without any thrift.

    Every order of every choice of the unanswered ones is tried.
    """
    useful = [one for one in history if one.outcome is not Outcome.FAILED]
    answered = [one for one in useful if one.outcome is Outcome.OK]
    unknown = [one for one in useful if one.outcome is Outcome.UNKNOWN]
    return any(
        _is_in_time(order) and _explains(order)
        for chosen in product([False, True], repeat=len(unknown))
        for order in permutations(
            [*answered, *(one for one, is_in in zip(unknown, chosen, strict=True) if is_in)]
        )
    )


def _is_in_time(order: tuple[Operation, ...]) -> bool:
    """Whether nothing stands behind what was called only after its answer."""
    return all(
        later.returned >= sooner.invoked
        for place, sooner in enumerate(order)
        for later in order[place + 1 :]
    )


def _explains(order: tuple[Operation, ...]) -> bool:
    """Whether the reads see what this order leaves."""
    held: dict[tuple[str, int], Tag] = {}
    for one in order:
        places = range(one.first, one.end)
        match one.kind:
            case Kind.WRITE:
                held |= dict.fromkeys([(one.drive, place) for place in places], one.tag)
            case Kind.ZERO:
                held |= dict.fromkeys([(one.drive, place) for place in places], ZERO)
            case Kind.IMAGE:
                copied = [held.get((one.source, place), ZERO) for place in places]
                held |= {(one.drive, at): tag for at, tag in zip(places, copied, strict=True)}
            case Kind.READ if one.outcome is Outcome.OK:
                found = tuple(held.get((one.drive, place), ZERO) for place in places)
                if found != one.seen:
                    return False
    return True

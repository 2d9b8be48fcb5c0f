"""Judges whether a history is linearizable: every operation took effect at one moment between its
call and its answer, and what was read is what those moments, one after the other, leave.

The search is Wing and Gong's, which tries orders operation by operation, with Lowe's memory of what
was tried (https://www.cs.ox.ac.uk/people/gavin.lowe/LinearizabiltyTesting/).  Registers allow more:
- A read that fits now is taken now: it changes nothing.
- A write that nobody reads is taken once nobody reads what it overwrites.
- What nobody will read counts as the same, whatever it is.
- A write over what somebody has yet to read, and what nobody can write again, leads nowhere.
- Of the operations that may come next, only those that meet the most urgent one in some register,
  at first or second hand, are tried: the others could as well come later.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import inf

from linear.history import ZERO, Operation, Outcome, Tag
from linear.parts import Step, related

STATES_MAX = 100_000
"""How many states are looked at before the search gives up; a fraction of a millisecond each."""


class Undecided(Exception):
    """The history was too tangled to be judged."""


class Effort:
    """How much may be spent on one judgement, or on several together."""

    def __init__(self, states: int = STATES_MAX) -> None:
        self._left = states

    def spend(self) -> None:
        """Look at one more state."""
        self._left -= 1
        if self._left < 0:
            raise Undecided


def is_linearizable(history: Iterable[Operation], effort: Effort | None = None) -> bool:
    """Judge a history of drives that held zeros at first.

    Raises:
        Undecided: it takes more than the *effort*.
    """
    spent = effort or Effort()
    return all(
        _is_linearizable(steps, len(registers), spent) for registers, steps in related(history)
    )


def offending_part(history: Iterable[Operation]) -> list[Operation] | None:
    """Return the operations of a smallest part of a history that is not linearizable."""
    parts = sorted(related(history), key=lambda part: len(part[1]))
    for registers, steps in parts:
        if not _is_linearizable(steps, len(registers), Effort()):
            return [step.operation for step in steps]
    return None


def _is_linearizable(steps: list[Step], registers: int, effort: Effort) -> bool:
    facts = _Facts(steps, registers)
    return facts.are_possible and _Search(facts, registers).succeeds(effort)


class _Facts:
    """What is known of steps before an order is tried.

    Sets of steps are integers: bit N stands for the step number N, in the order of their calls.
    """

    def __init__(self, steps: list[Step], registers: int) -> None:
        self.steps = sorted(steps, key=lambda step: step.operation.invoked)
        self.called = [step.operation.invoked for step in self.steps]
        self.due: list[float] = [step.operation.returned for step in self.steps]
        self.readers: dict[tuple[int, Tag], int] = defaultdict(int)
        """Who reads a tag in a register."""

        self.copiers = [0] * registers
        """Who copies from a register."""

        self.makers: dict[tuple[int, int], int] = {}
        """By reader and register: who may leave what it reads there."""

        self.are_possible = True
        self._note_readers()
        self._note_makers(registers)
        self.certain, self.optional = self._sort_out()
        self.late = self._too_late()
        """By who may take effect, but not for ever: whose calls come too late for it."""

    def _note_readers(self) -> None:
        for number, step in enumerate(self.steps):
            for register, tag in step.sees.items():
                self.readers[register, tag] |= 1 << number
            for register in step.copies.values():
                self.copiers[register] |= 1 << number

    def _note_makers(self, registers: int) -> None:
        writers: dict[tuple[int, Tag], list[int]] = defaultdict(list)
        images: list[list[int]] = [[] for _ in range(registers)]
        for number, step in enumerate(self.steps):
            for register, tag in step.puts.items():
                writers[register, tag].append(number)
            for register in step.copies:
                images[register].append(number)
        for number, step in enumerate(self.steps):
            for register, tag in step.sees.items():
                able = [*writers[register, tag], *images[register]]
                in_time = [one for one in able if self.called[one] <= self.due[number]]
                self.makers[number, register] = sum(1 << one for one in in_time)
                self.are_possible &= bool(in_time) or tag == ZERO

    def _sort_out(self) -> tuple[int, int]:
        """Return who must take effect, and who may; what is in neither is as if it never did.

        An unanswered write is like one that was answered when the first read that only it can
        explain was.  If it explains none it is left out.
        """
        useful = 0
        explaining = set()
        for (number, register), makers in self.makers.items():
            useful |= makers
            is_only = makers & (makers - 1) == 0
            if is_only and makers and self.steps[number].sees[register] != ZERO:
                maker = makers.bit_length() - 1
                self.due[maker] = min(self.due[maker], self.due[number])
                explaining.add(maker)
        for step in self.steps:
            if step.copies:
                # What it copies from may have been left by anyone.
                for register in step.copies.values():
                    useful |= self._writers_of(register)
        certain = 0
        for number, step in enumerate(self.steps):
            is_answered = step.operation.outcome is Outcome.OK
            certain |= (is_answered or number in explaining) << number
        return certain, useful & ~certain

    def _too_late(self) -> dict[int, int]:
        return {
            number: sum(1 << one for one, at in enumerate(self.called) if at > self.due[number])
            for number in _members(self.optional)
            if self.due[number] < inf
        }

    def _writers_of(self, register: int) -> int:
        return sum(
            1 << number
            for number, step in enumerate(self.steps)
            if register in step.puts or register in step.copies
        )


class _Search:
    """Looks for an order."""

    def __init__(self, facts: _Facts, registers: int) -> None:
        self._facts = facts
        self._first = (0, (ZERO,) * registers)
        self._touched = [frozenset(step.touched) for step in facts.steps]

    def succeeds(self, effort: Effort) -> bool:
        seen = set()
        waiting = [self._first]
        while waiting:
            done, state = self._settled(*waiting.pop())
            left = self._facts.certain & ~done
            if not left:
                return True
            lowest = _lowest(left)
            key = (lowest, left >> lowest, done & self._facts.optional, state)
            if key in seen:
                continue
            seen.add(key)
            effort.spend()
            waiting.extend(self._next(done, state))
        return False

    def _settled(self, done: int, state: tuple[Tag, ...]) -> tuple[int, tuple[Tag, ...]]:
        """Take every step that is right in any case, and forget what nobody will read."""
        is_moving = True
        while is_moving:
            is_moving = False
            for number in self._ready(done):
                step = self._facts.steps[number]
                is_right = _fits(step, state) if step.sees else self._is_blind(step, done, state)
                if is_right and not self._expires(number, done):
                    done, state = done | 1 << number, _after(step, state)
                    is_moving = True
        kept = [tag if self._wanted(at, tag, done) else None for at, tag in enumerate(state)]
        return done, tuple(kept)

    def _is_blind(self, step: Step, done: int, state: tuple[Tag, ...]) -> bool:
        """Whether nobody will miss what a step overwrites, nor read what it leaves."""
        return not step.copies and not any(
            self._wanted(register, tag, done) or self._wanted(register, state[register], done)
            for register, tag in step.puts.items()
        )

    def _wanted(self, register: int, tag: Tag, done: int) -> int:
        readers = self._facts.readers.get((register, tag), 0) | self._facts.copiers[register]
        return readers & ~done

    def _next(self, done: int, state: tuple[Tag, ...]) -> Iterator[tuple[int, tuple[Tag, ...]]]:
        due = self._facts.due
        # What is due first is tried first, so it comes last.
        for number in sorted(self._tangle(done), key=lambda one: due[one], reverse=True):
            step = self._facts.steps[number]
            if _fits(step, state) and not self._loses(number, done, state):
                yield done | 1 << number, _after(step, state)

    def _loses(self, number: int, done: int, state: tuple[Tag, ...]) -> bool:
        """Whether a step overwrites what somebody has yet to read and nobody else will write."""
        after = done | 1 << number
        step = self._facts.steps[number]
        left = _after(step, state)
        for register in (*step.puts, *step.copies):
            tag = state[register]
            if tag == left[register]:
                continue
            readers = self._facts.readers.get((register, tag), 0) & ~done
            makers = self._facts.makers
            if not all(makers[reader, register] & ~after for reader in _members(readers)):
                return True
        return False

    def _tangle(self, done: int) -> list[int]:
        """Return those who may come next that meet the most urgent of them, through others too."""
        ready = self._ready(done)
        # Not one that may as well never happen.
        certain = [one for one in ready if self._facts.certain >> one & 1]
        urgent = min(certain, key=lambda one: self._facts.due[one])
        found, others = [urgent], [one for one in ready if one != urgent]
        for one in found:
            met = [other for other in others if self._meet(one, other)]
            found += met
            others = [other for other in others if other not in met]
        return found

    def _expires(self, number: int, done: int) -> bool:
        """Whether there is something that may happen now, and may not after a step."""
        return any(
            not done >> one & 1 and not late & done and late >> number & 1
            for one, late in self._facts.late.items()
        )

    def _meet(self, one: int, other: int) -> bool:
        late = self._facts.late
        if late.get(one, 0) >> other & 1 or late.get(other, 0) >> one & 1:
            return True
        steps = self._facts.steps
        are_reads = steps[one].sees and steps[other].sees
        return not are_reads and not self._touched[one].isdisjoint(self._touched[other])

    def _ready(self, done: int) -> list[int]:
        """Return who may come next: who was called before any that is left had its answer."""
        facts = self._facts
        ready, soonest = [], inf
        left = facts.certain & ~done
        lowest = _lowest(left) if left else 0
        for number in _members(left >> lowest):
            if facts.called[number + lowest] > soonest:
                break
            ready.append(number + lowest)
            soonest = min(soonest, facts.due[number + lowest])
        optional = _members(facts.optional & ~done)
        in_time = [number for number in optional if not facts.late.get(number, 0) & done]
        return ready + [number for number in in_time if facts.called[number] <= soonest]


def _fits(step: Step, state: tuple[Tag, ...]) -> bool:
    return all(state[register] == tag for register, tag in step.sees.items())


def _after(step: Step, state: tuple[Tag, ...]) -> tuple[Tag, ...]:
    changed = list(state)
    for register, tag in step.puts.items():
        changed[register] = tag
    for register, source in step.copies.items():
        changed[register] = state[source]
    return tuple(changed)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _members(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest

"""Clients that write and read the same places of one drive at once."""

import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

WRITERS = 4
READERS = 3

Write = Callable[[int, bytes], None]
Read = Callable[[int, int], bytes]


def fight_over_a_range(write: Write, read: Read, offset: int, length: int, rounds: int) -> set:
    """Let each writer fill the range with its number and readers look at parts of it.

    Return what was seen: a set of sets of the numbers that one read brought.  The first writer's
    number is 0, so that its writes are holes.
    """
    over = threading.Event()

    def fill(number: int) -> None:
        for _ in range(rounds):
            write(offset, bytes([number]) * length)

    def look(seed: int) -> set:
        dice, seen = random.Random(seed), set()
        while not over.is_set():
            start, end = sorted(dice.sample(range(length + 1), 2))
            seen.add(frozenset(read(offset + start, end - start)))
        return seen

    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        looks = [pool.submit(look, seed) for seed in range(READERS)]
        fills = [pool.submit(fill, number) for number in range(WRITERS)]
        try:
            for fill_ended in fills:
                fill_ended.result()
        finally:
            over.set()
        return set().union(*(look_ended.result() for look_ended in looks))


def fight_side_by_side(write: Write, read: Read, bounds: list[int], rounds: int) -> None:
    """Let each writer fill a range of its own again and again, and require that it stays so."""

    def keep(start: int, end: int, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(rounds):
            mine = bytes([dice.randrange(256)]) * (end - start)
            write(start, mine)
            assert read(start, end - start) == mine, "a neighbour's write took mine back"

    with ThreadPoolExecutor(len(bounds)) as pool:
        pairs = enumerate(itertools.pairwise(bounds))
        ends = [pool.submit(keep, *pair, seed) for seed, pair in pairs]
        for end in ends:
            end.result()

"""What is said of a history that is not linearizable: few operations, and enough of them."""

from random import Random

import pytest

from linear.checker import is_linearizable
from linear.history import ZERO, Kind
from linear.simulated import MUTATIONS, Shape, simulate
from linear.window import offending_window
from linear.written import fits_some_order, read, write, zero

SHAPE = Shape(operations=1200, clients=6, unknown=0.01)
SEEDS = range(8)


def test_nothing_is_said_of_a_linearizable_history():
    history = simulate(Random(1), SHAPE).history()

    assert offending_window(history) is None


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_a_window_is_a_contradiction_of_few_operations(mutate):
    windows = []
    for seed in SEEDS:
        made = simulate(Random(seed), SHAPE)
        mutate(made)
        if (window := offending_window(made.history())) is not None:
            windows.append(list(window.operations))

    assert windows
    for window in windows:
        assert len(window) <= 7
        assert not fits_some_order(window)
        for place, operation in enumerate(window):
            is_needed = is_linearizable(window[:place] + window[place + 1 :])
            assert is_needed or operation.kind is not Kind.READ


def test_a_window_shows_the_operations_and_what_would_have_been_right():
    busy = [write(10 * at, 10 * at + 5, f"other{at}", first=500) for at in range(50)]
    history = [
        write(1_000, 2_000, "x", count=1024),
        write(3_000, 9_000, "y", count=1024),
        read(4_000, 5_000, *["y"] * 500, *["x"] * 524),
        read(10_000, 11_000, *["y"] * 1024),
        *busy,
    ]

    window = offending_window(history)

    assert str(window).splitlines() == [
        "not linearizable: 3 operations contradict each other",
        "           0.0 ..          1.0 us               write a [0..1023] := x",
        "           2.0 ..    no answer us               write a [0..1023] := y",
        "           3.0 ..          4.0 us               read  a [0..1023] -> [0..499] y, [500..1023] x",
        "  the last read might have seen: x",
        "  the last read might have seen: y",
    ]


def test_a_window_begins_where_the_contradiction_does():
    early = [write(at, at + 1, f"early{at}") for at in range(0, 1000, 2)]
    late = [read(at, at + 1, ZERO) for at in range(2_000, 2_500, 2)]
    history = [*early, zero(1_500, 1_501), *late, read(3_000, 3_001, "early998")]

    window = offending_window(history)

    assert [str(operation) for operation in window.operations] == [
        "write a [0] := early998",
        "zero  a [0]",
        "read  a [0] -> early998",
    ]
    assert window.allowed == ("zero",)

"""What `checker` accepts and what it does not, by hand and against the definition itself."""

from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear.checker import is_linearizable
from linear.history import ZERO, Outcome
from linear.simulated import MUTATIONS, NothingToChange, Shape, simulate
from linear.written import NEVER, doubtful, fits_some_order, image, read, write, zero

EXAMPLES = 500

WHOLE = 1024
"""The sectors of a range of 4 MiB."""

RIGHT = {
    "nothing happened": [],
    "a fresh drive holds zeros": [read(0, 1, ZERO)],
    "a read sees the write before it": [write(0, 1, "x"), read(2, 3, "x")],
    "a read beside a write may see it": [write(0, 9, "x"), read(1, 2, "x")],
    "a read beside a write may miss it": [write(0, 9, "x"), read(1, 2, ZERO)],
    "answer and call at one moment are beside each other": [write(0, 5, "x"), read(5, 6, ZERO)],
    "zeroing undoes a write": [write(0, 1, "x"), zero(2, 3), read(4, 5, ZERO)],
    "writes beside each other come in either order": [
        write(0, 9, "x"),
        write(0, 9, "y"),
        read(10, 11, "x"),
        read(12, 13, "x"),
    ],
    "two readers see both of two writes, one by one": [
        write(0, 9, "x"),
        write(0, 9, "y"),
        read(1, 2, "y"),
        read(3, 4, "x"),
        read(10, 11, "x"),
    ],
    "a whole range is seen old, then new": [
        write(0, 9, "x", count=WHOLE),
        read(1, 2, *[ZERO] * WHOLE),
        read(3, 4, *["x"] * WHOLE),
        read(5, 6, "x", first=700),
    ],
    "a range holds a later write to one sector": [
        write(0, 1, "x", count=4),
        write(2, 3, "y", first=2),
        read(4, 5, "x", "x", "y", "x"),
    ],
    "an unanswered write may never come": [write(0, NEVER, "x"), read(9, 10, ZERO)],
    "an unanswered write may come late": [
        write(0, NEVER, "x"),
        write(2, 3, "y"),
        read(4, 5, "y"),
        read(6, 7, "x"),
    ],
    "a failed write did nothing": [
        replace(write(0, 1, "x"), outcome=Outcome.FAILED),
        read(2, 3, ZERO),
    ],
    "an unanswered read says nothing": [
        write(0, 1, "x"),
        replace(read(2, 3, ZERO), outcome=Outcome.UNKNOWN, returned=NEVER, seen=()),
        read(4, 5, "x"),
    ],
    "an unanswered zeroing comes between two writes": [
        zero(0, NEVER),
        write(1, 2, "x"),
        read(3, 4, ZERO),
        write(5, 6, "y"),
        read(7, 8, "y"),
    ],
    "an image holds what its source did": [
        write(0, 1, "x"),
        image(2, 3, "b", "a", 4),
        write(4, 5, "y"),
        read(6, 7, "x", ZERO, drive="b"),
    ],
    "an image overwrites with zeros too": [
        write(0, 1, "x", drive="b"),
        image(2, 3, "b", "a", 4),
        read(4, 5, ZERO, drive="b"),
    ],
    "an image brings back what was overwritten": [
        write(0, 1, "x"),
        image(2, 3, "b", "a", 4),
        write(4, 5, "y"),
        image(6, 7, "a", "b", 4),
        read(8, 9, "x"),
    ],
    "a write that had its time may have used it": [
        doubtful(write(0, 5, "x")),
        read(6, 7, "x"),
    ],
    "a write that had its time may have missed it": [
        doubtful(write(0, 5, "x")),
        read(6, 7, ZERO),
    ],
    "a zeroing that had its time may have used it": [
        write(0, 1, "x"),
        doubtful(zero(2, 5)),
        read(3, 4, "x"),
        read(6, 7, ZERO),
    ],
    "a zeroing that had its time comes before a read elsewhere": [
        write(0, 1, "x", count=2),
        doubtful(zero(2, 5)),
        read(6, 7, "x", first=1),
        read(8, 9, ZERO),
    ],
    "a zeroing that had its time comes before a long read elsewhere": [
        write(0, 1, "x", count=2),
        doubtful(zero(2, 5)),
        read(6, 20, "x", first=1),
        read(8, 9, ZERO),
    ],
    "of two unanswered zeroings the narrow one comes first": [
        write(0, 1, "x", count=2),
        zero(2, NEVER, count=2),
        zero(2, NEVER, count=1),
        read(4, 5, ZERO),
        write(6, 7, "y", count=2),
        read(8, 9, ZERO, ZERO),
    ],
    "of two unanswered zeroings the wide one comes last": [
        write(0, 1, "x", count=2),
        zero(2, NEVER, count=1),
        zero(2, NEVER, count=2),
        read(4, 5, ZERO),
        write(6, 7, "y", count=2),
        read(8, 9, ZERO, ZERO),
    ],
    "an unanswered write is seen in an image": [
        write(0, NEVER, "x"),
        image(1, 2, "b", "a", 4),
        read(3, 4, "x", drive="b"),
    ],
    "a zeroing that had its time missed it, beside a write elsewhere": [
        read(0, 5, ZERO),
        write(0, 1, "x", count=2),
        write(3, 9, "y", first=1),
        doubtful(zero(4, 6)),
        read(10, 11, "x"),
        read(10, 11, "y", first=1),
    ],
    "an unanswered image comes late, with what its source held then": [
        image(0, NEVER, "b", "a", 4),
        write(1, 2, "x"),
        read(3, 4, ZERO, drive="b"),
        read(5, 6, "x", drive="b"),
    ],
}

WRONG = {
    "content from nowhere": [read(0, 1, "x")],
    "a stale read": [write(0, 1, "x"), write(2, 3, "y"), read(4, 5, "x")],
    "a stale read of zeros": [write(0, 1, "x"), read(2, 3, ZERO)],
    "a lost write": [write(0, 1, "x"), zero(2, 3), write(4, 5, "y"), read(6, 7, ZERO)],
    "a read from the future": [read(0, 1, "x"), write(2, 3, "x")],
    "a read that goes back": [write(0, 9, "x"), read(1, 2, "x"), read(3, 4, ZERO)],
    "a torn range": [
        write(0, 1, "x", count=WHOLE),
        write(2, 9, "y", count=WHOLE),
        read(3, 4, *["y"] * 500, *["x"] * 524),
    ],
    "a range that was torn by its first sector": [
        write(0, 9, "x", count=WHOLE),
        read(1, 2, "x"),
        read(3, 4, *[ZERO] * 24, first=1000),
    ],
    "two writes that two readers saw in different orders": [
        write(0, 9, "x", count=2),
        write(0, 9, "y", count=2),
        read(10, 11, "x"),
        read(10, 11, "y", first=1),
    ],
    "a write that is seen, missed and seen": [
        write(0, 9, "x"),
        read(1, 2, "x"),
        read(3, 4, ZERO),
        read(5, 6, "x"),
    ],
    "a failed write that is seen": [
        replace(write(0, 1, "x"), outcome=Outcome.FAILED),
        read(2, 3, "x"),
    ],
    "an unanswered write that surfaces and vanishes": [
        write(0, NEVER, "x"),
        read(1, 2, "x"),
        read(3, 4, ZERO),
    ],
    "an unanswered write that surfaces before it was sent": [
        read(0, 1, "x"),
        write(2, NEVER, "x"),
    ],
    "an unanswered write that comes twice": [
        write(0, NEVER, "x"),
        read(1, 2, "x"),
        write(3, 4, "y"),
        read(5, 6, "y"),
        read(7, 8, "x"),
    ],
    "an unanswered write of which half surfaces": [
        write(0, NEVER, "x", count=2),
        read(1, 2, "x", ZERO),
    ],
    "two unanswered writes, each of which came last": [
        write(0, NEVER, "x"),
        write(0, NEVER, "y"),
        read(1, 2, "x"),
        read(3, 4, "y"),
        read(5, 6, "x"),
    ],
    "a write that comes after its time": [
        doubtful(write(0, 5, "x")),
        read(6, 7, ZERO),
        read(8, 9, "x"),
    ],
    "a zeroing that comes after its time": [
        doubtful(zero(0, 5)),
        write(6, 7, "x"),
        read(8, 9, ZERO),
    ],
    "a write that has its time before the read of a zeroing that has its time": [
        write(0, 1, "x"),
        doubtful(zero(2, 4)),
        read(5, 6, "x"),
        read(7, 8, ZERO),
    ],
    "an image of no single moment": [
        write(0, 1, "x"),
        image(2, 9, "b", "a", 2),
        write(3, 4, "y", first=0),
        write(5, 6, "y2", first=1),
        read(10, 11, "x", "y2", drive="b"),
    ],
    "an image that misses what was written before it": [
        write(0, 1, "x"),
        image(2, 3, "b", "a", 2),
        read(4, 5, ZERO, drive="b"),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_linearizable_history_is_accepted(name):
    assert is_linearizable(RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_history_that_is_not_linearizable_is_refused(name):
    assert not is_linearizable(WRONG[name])


@pytest.mark.parametrize("name", [*RIGHT, *WRONG])
def test_the_definition_agrees(name):
    assert fits_some_order((RIGHT | WRONG)[name]) is (name in RIGHT)


shapes = st.builds(
    Shape,
    operations=st.just(6),
    clients=st.sampled_from([2, 3, 6]),
    ranges=st.just(((0, 2), (0, 1), (1, 1))),
    reads=st.sampled_from([0.4, 0.6]),
    zeros=st.sampled_from([0.0, 0.2]),
    images=st.sampled_from([0.0, 0.1]),
    unknown=st.sampled_from([0.0, 0.3]),
    drives=st.just(("a", "b")),
    size=st.just(2),
)
tags = st.sampled_from(["x", "y", "z", ZERO])
drives = st.sampled_from("ab")


@st.composite
def tangled(draw):
    """Any operation of few units, at any time: most histories of these are wrong."""
    invoked = draw(st.integers(0, 8))
    first, count = draw(st.sampled_from([(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]))
    drive = draw(drives)
    returned = invoked + draw(st.integers(0, 6))
    kind = draw(st.sampled_from(["read", "read", "read", "write", "write", "zero", "image"]))
    if kind == "read":
        seen = draw(st.lists(tags, min_size=count, max_size=count))
        return read(invoked, returned, *seen, first=first, drive=drive)
    answer = draw(st.sampled_from(["ok", "ok", "never", "in doubt"]))
    if answer == "never":
        returned = NEVER
    if kind == "write":
        made = write(invoked, returned, draw(tags), first, count, drive)
    elif kind == "zero":
        made = zero(invoked, returned, first, count, drive)
    else:
        made = image(invoked, returned, drive, "b" if drive == "a" else "a", 3)
    return doubtful(made) if answer == "in doubt" else made


@settings(max_examples=EXAMPLES)
@given(st.lists(tangled(), max_size=6))
def test_any_few_operations_are_judged_as_the_definition_says(history):
    assert is_linearizable(history) is fits_some_order(history)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**32), st.sampled_from([None, *MUTATIONS]), shapes)
def test_what_a_store_did_is_judged_as_the_definition_says(seed, mutate, shape):
    made = simulate(Random(seed), shape)
    if mutate is not None:
        with suppress(NothingToChange):
            mutate(made)
    history = made.history()

    judged = is_linearizable(history)

    assert judged or mutate is not None
    assert judged is fits_some_order(history)

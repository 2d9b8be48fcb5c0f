"""The whole API against a plain model, over files and over memory, with drives of both ciphers."""

import os
import sys
import time
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from property.machine import Api

EXAMPLES = int(os.environ.get("DRIVEBAY_PROPERTY_EXAMPLES", "100"))
"""How many histories over each kind of store: `make property` sets more."""

STEPS = 40
PART = 25
"""Histories of one test, so that each ends long before the guard against a hang."""


@pytest.mark.parametrize("part", range(-(-EXAMPLES // PART)))
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_the_service_answers_as_the_model_says(template, base, kind, part):
    reached: Counter[tuple[str, int, str]] = Counter()
    values = {
        "template": template,
        "base": base / kind / f"{part}",
        "kind": kind,
        "reached": reached,
    }
    began = time.monotonic()

    run_state_machine_as_test(
        type("Api", (Api,), values),
        settings=settings(
            max_examples=min(PART, EXAMPLES - part * PART), stateful_step_count=STEPS
        ),
    )

    lines = [f"{count:7} {call} {status} {word}" for (call, status, word), count in reached.items()]
    lines.append(f"{reached.total()} calls in {time.monotonic() - began:.0f} s")
    sys.stderr.write("\n".join(lines) + "\n")

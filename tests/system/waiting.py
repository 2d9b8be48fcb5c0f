"""Waiting for what will come true, without sleeping longer than it takes."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, seconds: float = 60.0) -> T:
    """Return the first true result of *condition*."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.01)
    return result

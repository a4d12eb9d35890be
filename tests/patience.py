"""The time after which a test reports a hang: far longer than anything takes on a busy machine.

With a short deadline a test would measure the machine. A test whose promise is a time has its own deadline.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 120.0
LONG = os.environ.get("FAULTS") == "long"  # the long form runs for hours beside other programs

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T:
    """Wait until ``condition`` returns a true value, and return it.

    The condition is checked once more after the deadline: the machine may have been busy all the time.

    Raises:
        AssertionError: the condition remained false for ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s * (5 if LONG else 1)
    pause_s = 0.002
    while True:
        is_last = time.monotonic() >= deadline
        if value := condition():
            return value
        assert not is_last, f"not within {timeout_s:g} s: {what or condition}"
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)

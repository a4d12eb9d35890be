"""How long a test waits before it calls something hung: far longer than any of it takes on a busy machine.

A deadline that is near makes a test of the machine. Where a time is itself what is promised, the test names it.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 120.0
LONG = os.environ.get("FAULTS") == "long"  # runs for hours beside other things

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T:
    """Return the first true value of ``condition``.

    It is asked once more after the deadline: a machine may have been busy for all of that time.

    Raises:
        AssertionError: it stayed false for ``timeout_s``.
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

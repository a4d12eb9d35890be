"""Keeps forks from falling into an import.

A module that some thread imports at the moment of a fork stays locked in the child for ever: whoever
imports it there, the child's sender or the user's own code, hangs. So the threads of this package
import under one lock, and a fork waits for it, though never long.
"""

from __future__ import annotations

import os
import threading

FORK_WAITS_S = 5.0  # should an import hang, the fork is not to hang with it

imports = threading.RLock()


def _before() -> None:
    imports.acquire(timeout=FORK_WAITS_S)


def _after_in_parent() -> None:
    try:
        imports.release()
    except RuntimeError:  # the wait was given up
        pass


def _after_in_child() -> None:
    global imports
    imports = threading.RLock()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

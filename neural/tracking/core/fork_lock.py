"""Keeps forks from falling into what the threads of this package do.

A lock that some thread holds at the moment of a fork stays locked in the child for ever. Most of all
that of a module being imported: whoever imports it in the child, its sender or the user's own code,
hangs. So these threads work under one lock, and a fork waits for it: some milliseconds, never long.
"""

from __future__ import annotations

import os
import threading

FORK_WAITS_S = 5.0  # should a thread hang, the fork is not to hang with it

held_off = threading.RLock()


def _before() -> None:
    held_off.acquire(timeout=FORK_WAITS_S)


def _after_in_parent() -> None:
    try:
        held_off.release()
    except RuntimeError:  # the wait was given up
        pass


def _after_in_child() -> None:
    global held_off
    held_off = threading.RLock()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

"""Prevents a fork while a thread of this package works.

A lock that a thread holds at the moment of a fork remains locked in the child forever. The most important case
is the lock of a module that is being imported: code that imports the module in the child hangs. So the threads
of this package work under one lock, and a fork waits for it, usually some milliseconds.
"""

from __future__ import annotations

import os
import threading

FORK_WAITS_S = 5.0  # the maximum, so that a hanging thread does not block the fork

held_off = threading.RLock()


def _before() -> None:
    held_off.acquire(timeout=FORK_WAITS_S)


def _after_in_parent() -> None:
    try:
        held_off.release()
    except RuntimeError:  # the wait timed out
        pass


def _after_in_child() -> None:
    global held_off
    held_off = threading.RLock()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

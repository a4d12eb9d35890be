"""Ends the processes that a dead worker left behind: a backend's service outlives the worker that was killed.

They are recognised by a mark in their environment. Every process that a worker starts inherits it, in any
session and under any parent. A suspended one keeps the worker's pipes open, and the run that it serves.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

MARK = "NTRACK_WORKER"


def mark_of(state_root: Path, name: str) -> dict[str, str]:
    """Return the environment variable that marks a worker and every process that it starts. Never blocks."""
    return {MARK: f"{state_root}:{name}"}


def end_leftovers(state_root: Path, name: str, *, but: int) -> list[int]:
    """Kill every process with the worker's mark except ``but``; return their ids.

    Call it only for a worker that is gone, or from a worker that holds the lock of its name.

    Blocks while every process of this user is read.
    """
    import psutil

    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != but and process.environ().get(MARK) == f"{state_root}:{name}":
                process.kill()
                ended.append(process.pid)
    return ended

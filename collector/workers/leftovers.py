"""Processes a worker started and left behind: a backend's service outlives the worker that was killed.

They are known by a mark in their environment, which everything a worker starts inherits, whatever session
or parent it has by then. One that is suspended holds the worker's pipes open, and the run it serves.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

MARK = "NTRACK_WORKER"


def mark_of(state_root: Path, name: str) -> dict[str, str]:
    """Return the environment that marks a worker and all it starts."""
    return {MARK: f"{state_root}:{name}"}


def end_leftovers(state_root: Path, name: str, *, but: int) -> list[int]:
    """Kill every process that bears the worker's mark, but one; return their ids.

    Only for a worker that is gone, or one that holds the lock its predecessors held to their end.

    Blocks: on a look at every process of this user.
    """
    import psutil

    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != but and process.environ().get(MARK) == f"{state_root}:{name}":
                process.kill()
                ended.append(process.pid)
    return ended

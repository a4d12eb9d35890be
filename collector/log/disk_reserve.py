"""Decides how much of a small or full disk the log leaves free, so that acknowledged events can be stored.

The store needs room before it can free any: a run's files grow first, and only then is a segment of the log
deleted. A log that fills the disk would wait for the store, and the store would wait for the log, for ever. So
the log stops acknowledging while trainers still keep their events. It goes on as soon as the store has freed
space.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from neural.tracking.core import os_support

GROWTH = 3  # bytes in a run folder per byte of log, while tail and part hold it twice
LEAST_BYTES = 1 << 20
LEAST_SEGMENT_BYTES = 1 << 20
LEAST_RESERVE_BYTES = 8 << 20  # also on a disk so small that outboxes leave less free


def segment_bytes(folder: Path, wanted: int) -> int:
    """Return how large a log segment may be, in bytes: applying one segment must fit into the reserve.

    Blocks briefly on the disk.
    """
    _, reserve = os_support.free_and_reserve(folder)
    return min(wanted, max(LEAST_SEGMENT_BYTES, reserve // (GROWTH + 1))) if reserve else wanted


def check_room(folder: Path, runs: Path, undelivered_bytes: int) -> None:
    """Raise OSError (ENOSPC) if the log must not grow now. Blocks briefly on the disk.

    Args:
        folder: the folder of the log.
        runs: the folder of the run folders; if it is on another disk, the log needs no reserve for it.
        undelivered_bytes: the size of the log that is not delivered yet, with what is about to be added.
    """
    free, reserve = os_support.free_and_reserve(folder)
    if not reserve:
        return
    needed = min(max(reserve, LEAST_RESERVE_BYTES), GROWTH * undelivered_bytes + LEAST_BYTES)
    if free < needed and _on_same_disk(folder, runs):
        raise OSError(
            errno.ENOSPC, f"only {free} bytes are free, {needed} are left to the run folders", str(folder)
        )


def _on_same_disk(one: Path, other: Path) -> bool:
    try:
        return os.stat(one).st_dev == os.stat(other).st_dev
    except OSError:  # the folder is gone, so it needs no room
        return False

"""How much of a small or full disk the log leaves alone, so that what it acknowledged can be delivered.

The store needs room before it can free any: a run's files grow first, and only then does a segment of
the log go. A log that took the last byte would wait for the store, and the store for it, for ever. So it
stops acknowledging while trainers still keep their events, and goes on as the store works off what it has.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from neural.tracking.core import os_support

GROWTH = 3  # what a byte of the log may take in a run folder while it is there twice: tail and part
LEAST_BYTES = 1 << 20
LEAST_SEGMENT_BYTES = 1 << 20
LEAST_RESERVE_BYTES = 8 << 20  # also of a disk so small that outboxes leave less


def segment_bytes(folder: Path, wanted: int) -> int:
    """Return how large a segment may be: applying one must fit into what nobody else takes."""
    _, reserve = os_support.free_and_reserve(folder)
    return min(wanted, max(LEAST_SEGMENT_BYTES, reserve // (GROWTH + 1))) if reserve else wanted


def leave_some(folder: Path, runs: Path, undelivered_bytes: int) -> None:
    """Raise OSError (ENOSPC) where the log must not grow now. Blocks briefly.

    Args:
        folder: of the log.
        runs: holds the run folders; on another disk, the log's fullness is not their trouble.
        undelivered_bytes: of the log, with what is about to be added.
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
    except OSError:  # gone, and with it whatever wanted room there
        return False

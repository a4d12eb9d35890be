"""The lock of a state folder: it has one collector. It is taken before anything heavy is imported.

The lock is an flock on ``collector.lock``. It is held as long as the process lives, also while the process is
suspended: only the kernel releases it. The file's content names the holder and is never trusted.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from neural.tracking import __version__
from neural.tracking.core import os_support
from neural.tracking.core.files import is_still_at

PROBE_S = 0.2  # a process that tests whether the lock is held takes it, shared, for microseconds


class Lock:
    """A held lock; :meth:`release` or the end of the process releases it."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.last_boot_id = str(holder(path).get("boot_id", ""))  # the boot id that the last holder wrote
        self._fd = fd

    def in_place(self) -> bool:
        """Return whether ``path`` is still the locked file, so that a second collector finds it locked.

        Blocks briefly on the disk.
        """
        return is_still_at(self.path, self._fd)

    def host_went_down(self) -> bool:
        """Return whether the host was restarted since the last holder; True if unknown. Never blocks."""
        return not self.last_boot_id or self.last_boot_id != os_support.boot_id()

    def release(self) -> None:
        """Release the lock; safe to call twice. The file stays: without it two could hold "the" lock.

        Never blocks.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def acquire(path: Path) -> Lock | None:
    """Take the lock; return None if another process holds it. Blocks for 0.2 s at most.

    Raises:
        OSError: the file cannot be created or opened.
    """
    deadline = time.monotonic() + PROBE_S
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not os_support.lock_exclusively(fd):
            os.close(fd)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)  # the holder may have been a process that only tests the lock
            continue
        lock = Lock(path, fd)
        if lock.in_place():  # otherwise the file was removed between open and lock: take the new one
            _describe(fd)
            return lock
        lock.release()


def holder(path: Path) -> dict[str, Any]:
    """Return what the last holder wrote about itself; empty if nothing is readable. Blocks briefly."""
    try:
        content = json.loads(path.read_bytes()[:4096])
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe(fd: int) -> None:
    description = {
        "pid": os.getpid(),
        "host": platform.node(),
        "boot_id": os_support.boot_id(),
        "version": __version__,
        "started_ns": time.time_ns(),
    }
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(description).encode(), 0)
    except OSError:
        pass  # on a full disk the lock still holds, only its content is missing

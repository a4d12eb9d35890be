"""One collector per state folder: the lock, taken before anything heavy is imported.

The lock is an flock on ``collector.lock``, held as long as the process lives, also while it is
suspended: only the kernel lets go of it. The file's content says who holds it and is never trusted.
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

LOOKERS_S = 0.2  # who only looks whether the lock is held takes it, shared, for microseconds


class Lock:
    """A held lock; :meth:`release` or the end of the process lets it go."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.last_boot_id = str(holder(path).get("boot_id", ""))  # of who held it before
        self._fd = fd

    def in_place(self) -> bool:
        """Return whether ``path`` is still the locked file, so that a second collector finds it locked."""
        return is_still_at(self.path, self._fd)

    def host_went_down(self) -> bool:
        """Return whether the host was restarted since the last holder, as far as can be told."""
        return not self.last_boot_id or self.last_boot_id != os_support.boot_id()

    def release(self) -> None:
        """Let go; safe to call twice. The file stays: removing it would let two hold "the" lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def acquire(path: Path) -> Lock | None:
    """Take the lock, for 0.2 s at most; None when another process holds it.

    Raises:
        OSError: the file cannot be made or opened.
    """
    deadline = time.monotonic() + LOOKERS_S
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not os_support.lock_exclusively(fd):
            os.close(fd)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)  # it may have been one that only looks, and is gone by now
            continue
        lock = Lock(path, fd)
        if lock.in_place():  # else it was removed between open and lock: take the new one
            _describe(fd)
            return lock
        lock.release()


def holder(path: Path) -> dict[str, Any]:
    """Return what the last holder wrote about itself; empty where there is nothing readable."""
    try:
        found = json.loads(path.read_bytes()[:4096])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe(fd: int) -> None:
    about = {
        "pid": os.getpid(),
        "host": platform.node(),
        "boot_id": os_support.boot_id(),
        "version": __version__,
        "started_ns": time.time_ns(),
    }
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(about).encode(), 0)
    except OSError:
        pass  # on a full disk the lock counts, not its content

"""Appends to files whose valid length is known: bytes that a crash left after it are cut off."""

from __future__ import annotations

import os
from pathlib import Path

from neural.tracking.core.files import fsync_dir, fsync_file, write_all
from neural.tracking.errors import RetryLater

AFTER_S = 5.0  # the pause before the next try, for example on a full disk


def append_at(path: Path, start: int, data: bytes) -> int:
    """Cut the file to ``start`` bytes, append ``data``, and return the new length. Creates a missing file.

    Raises:
        RetryLater: the file could not be written; the same call may be made again.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, start)
            write_all(fd, data, start)
        finally:
            os.close(fd)
    except OSError as error:
        raise RetryLater(f"cannot write {path}: {error}", after_s=AFTER_S) from error
    return start + len(data)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless it exists. Raises RetryLater if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RetryLater(f"cannot make {folder}: {error}", after_s=AFTER_S) from error


def sync(path: Path) -> None:
    """Make a file and its directory entry durable. Blocks on the disk; raises RetryLater if that fails."""
    try:
        fsync_file(path)
        fsync_dir(path.parent)
    except OSError as error:
        raise RetryLater(f"cannot sync {path}: {error}", after_s=AFTER_S) from error

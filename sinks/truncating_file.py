"""Appending to files of which only a counted part counts: what a crash left beyond it is cut off again."""

from __future__ import annotations

import os
from pathlib import Path

from neural.tracking.core.files import fsync_dir, fsync_file, write_all
from neural.tracking.errors import RetryLater

AFTER_S = 5.0  # a full disk is looked at again so soon


def append_at(path: Path, start: int, data: bytes) -> int:
    """Write ``data`` where the counted part ends, cutting off what lies beyond; return the new end.

    Raises:
        RetryLater: it could not be written; the same call may be made again.
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
    """Create a folder; raises RetryLater where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RetryLater(f"cannot make {folder}: {error}", after_s=AFTER_S) from error


def sync(path: Path) -> None:
    """Make a file and its place in its folder durable; raises RetryLater."""
    try:
        fsync_file(path)
        fsync_dir(path.parent)
    except OSError as error:
        raise RetryLater(f"cannot sync {path}: {error}", after_s=AFTER_S) from error

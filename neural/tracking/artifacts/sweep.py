"""Removes blobs that no run refers to; only their link count decides: see ``docs/artifacts.md``.

An artifact that is being stored has a link in the spool until its version has one. So a sweep is safe at any
time, in any process: at worst a blob is stored a second time.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core.files import TEMPORARY_PREFIX

FileId = tuple[int, int]  # device and inode number, equal for all links to a file
_NONE: Mapping[FileId, int] = {}


class SweepResult(NamedTuple):
    """How many blobs were removed, or would be, and their total size."""

    blobs: int
    size_bytes: int


def sweep(blobs: Path, *, dry_run: bool = False, removed_links: Mapping[FileId, int] = _NONE) -> SweepResult:
    """Remove the blobs that have one link, and return their number and size. Blocks; raises OSError.

    Args:
        blobs: the folder of blobs.
        dry_run: only count them.
        removed_links: with ``dry_run``: how many links of each file to count as removed.
    """
    count = size = 0
    for folder in sorted(blobs.iterdir()) if blobs.is_dir() else ():
        if not folder.is_dir() or folder.is_symlink():
            continue
        for blob in list(folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                found = blob.lstat()
                less = removed_links.get((found.st_dev, found.st_ino), 0) if dry_run else 0
                ours = len(blob.name) == 64 or blob.name.startswith(TEMPORARY_PREFIX)
                if ours and stat.S_ISREG(found.st_mode) and found.st_nlink - less == 1:
                    count, size = count + 1, size + found.st_size
                    if not dry_run:
                        blob.unlink()
    return SweepResult(count, size)

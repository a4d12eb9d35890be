"""Removing blobs that no run refers to, seen from their link count alone: see ``docs/artifacts.md``.

Whatever is being stored keeps its link in the spool until the version has its own, so this is safe at any
time, whoever does it: at worst a blob is stored a second time.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core.files import TEMPORARY_PREFIX

FileId = tuple[int, int]  # device and number, the same of all links to a file
_NONE: Mapping[FileId, int] = {}


class SweepResult(NamedTuple):
    """How many blobs were, or would be, removed, and their bytes."""

    blobs: int
    size_bytes: int


def sweep(blobs: Path, *, dry_run: bool = False, going: Mapping[FileId, int] = _NONE) -> SweepResult:
    """Remove the blobs with one link; with ``dry_run`` only count them, as if the links ``going`` were gone."""
    count = size = 0
    for folder in sorted(blobs.iterdir()) if blobs.is_dir() else ():
        if not folder.is_dir() or folder.is_symlink():
            continue
        for blob in list(folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                found = blob.lstat()
                less = going.get((found.st_dev, found.st_ino), 0) if dry_run else 0
                ours = len(blob.name) == 64 or blob.name.startswith(TEMPORARY_PREFIX)
                if ours and stat.S_ISREG(found.st_mode) and found.st_nlink - less == 1:
                    count, size = count + 1, size + found.st_size
                    if not dry_run:
                        blob.unlink()
    return SweepResult(count, size)

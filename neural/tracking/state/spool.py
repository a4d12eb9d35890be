"""The spool, where snapshots wait for the collector: ``<state>/spool/<session>/<token>``, file or folder.

An entry is created as ``.tmp-<token>`` and renamed when it is complete; only then an event names it. So an
entry with its final name is complete. An entry that no event names when its session is over can be removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural.tracking.core.files import read_json, write_json
from neural.tracking.core.names import is_hex_id

OUTCOME_SUFFIX = ".outcome"
ADDRESS_NAME = "collector.json"


def size_bytes(place: Path) -> int:
    """Return the size of the whole spool or of one entry in bytes; files removed meanwhile do not count.

    Blocks on the disk.
    """
    return sum(found.st_size for found in _files(place))


def _files(folder: Path | str) -> Iterator[os.stat_result]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        with contextlib.suppress(FileNotFoundError):
            yield os.lstat(folder)


def address(folder: Path, collector: str) -> None:
    """Write the address of the remote collector into a session's folder, unless it is there; raises OSError."""
    path = folder / ADDRESS_NAME
    if not path.exists():
        write_json(path, {"collector": collector}, durable=False, mode=0o600)


def note_outcome(entry: Path, outcome: dict[str, Any]) -> None:
    """Write the outcome of an entry on a remote collector, for the training that waits for it; never raises."""
    with contextlib.suppress(OSError):  # the folder is gone and so is the training, or the disk is full
        write_json(entry.with_name(entry.name + OUTCOME_SUFFIX), outcome, durable=False, mode=0o600)


def read_outcome(entry: Path) -> dict[str, Any] | None:
    """Return the outcome that :func:`note_outcome` wrote; None if there is none."""
    try:
        found = read_json(entry.with_name(entry.name + OUTCOME_SUFFIX))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("seq"), int) else None


def waiting(root: Path) -> dict[Path, list[Path]]:
    """Return the complete entries in a spool, oldest first, by the folder of their session. Blocks briefly."""
    found = {}
    for folder in root.iterdir() if root.is_dir() else ():
        if is_hex_id(folder.name):
            with contextlib.suppress(FileNotFoundError):
                entries = [entry for entry in folder.iterdir() if is_hex_id(entry.name)]
                found[folder] = sorted(entries, key=lambda entry: entry.stat().st_mtime_ns)
    return {folder: entries for folder, entries in found.items() if entries}


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; a missing one is no error. Blocks on the disk.

    Raises:
        OSError: a part of it is left.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:  # a folder: EISDIR on Linux, EPERM elsewhere
        if path.is_symlink() or not path.is_dir():
            raise
        import shutil  # imported only for folders: every tracker imports this module

        shutil.rmtree(path)

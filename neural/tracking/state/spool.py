"""Where snapshots wait for the collector: ``<state>/spool/<session>/<token>``, a file or a folder.

An entry is made under ``.tmp-<token>`` and renamed once it is whole; only then an event names it. So
what has its final name is whole, and what no event names once its session is over can be removed.
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
    """Return how much is in the whole spool, or in one entry; what vanishes meanwhile does not count."""
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
    """Note in a session's folder to which collector on another host it goes."""
    path = folder / ADDRESS_NAME
    if not path.exists():
        write_json(path, {"collector": collector}, durable=False, mode=0o600)


def note_outcome(entry: Path, outcome: dict[str, Any]) -> None:
    """Note what a collector on another host made of an entry; for the training that waits to hear of it."""
    with contextlib.suppress(OSError):  # its folder is gone, and the training with it; or there is no room
        write_json(entry.with_name(entry.name + OUTCOME_SUFFIX), outcome, durable=False, mode=0o600)


def read_outcome(entry: Path) -> dict[str, Any] | None:
    """Return what was noted, None where nothing is."""
    try:
        found = read_json(entry.with_name(entry.name + OUTCOME_SUFFIX))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("seq"), int) else None


def waiting(root: Path) -> dict[Path, list[Path]]:
    """Return the whole entries in a spool, by the folder of their session, the oldest first."""
    found = {}
    for folder in root.iterdir() if root.is_dir() else ():
        if is_hex_id(folder.name):
            with contextlib.suppress(FileNotFoundError):
                entries = [entry for entry in folder.iterdir() if is_hex_id(entry.name)]
                found[folder] = sorted(entries, key=lambda entry: entry.stat().st_mtime_ns)
    return {folder: entries for folder, entries in found.items() if entries}


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it; nothing where it is gone already.

    Raises:
        OSError: something of it is left.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:  # a folder: EISDIR on Linux, EPERM elsewhere
        if path.is_symlink() or not path.is_dir():
            raise
        import shutil  # for folders only: every tracker imports this module

        shutil.rmtree(path)

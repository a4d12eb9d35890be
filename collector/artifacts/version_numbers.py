"""Version numbers: finds the next one, and claims it so that two collectors never use the same one."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from neural.tracking.core.files import fsync_dir, inside
from neural.tracking.reader.facts import read_facts

_TAKEN = frozenset((errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR))


class VersionNumbers:
    """The highest number of each name in each run, read once and kept. The methods block on the disk."""

    def __init__(self) -> None:
        self._highest: dict[tuple[Path, str], int] = {}
        self._read: dict[Path, dict[str, set[int]]] = {}
        self._reading = threading.Lock()

    def claim(self, run: Path, name: str, put: Callable[[Path], None]) -> int:
        """Return the number under which ``put`` placed a version. A number may be skipped, never used twice.

        Args:
            put: places the version at the path that it gets. If the path is taken, it raises FileExistsError,
                or the error of a rename onto something.
        """
        folder = versions_folder(run, name)
        number = self._highest_number(run, folder, name)
        while True:
            number += 1
            try:
                put(folder / version_name(number, name))
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                continue
            self._highest[run, name] = number
            fsync_dir(folder)
            return number

    def mark_noted(self, run: Path, name: str, number: int) -> None:
        """Remember that a note names this number: a retried job does not use it any more."""
        self._noted(run).setdefault(name, set()).add(number)

    def unnoted(self, run: Path, name: str) -> list[tuple[int, Path]]:
        """Return the versions on disk that no known note names: a kill came between link and note."""
        folder = versions_folder(run, name)
        noted = self._noted(run).get(name, set())
        return [(number, folder / version_name(number, name)) for number in _on_disk(folder, name) - noted]

    def forget(self, run: Path) -> None:
        """Forget the numbers of a run, so that they are read again. Never blocks."""
        self._read.pop(run, None)
        for key in [key for key in self._highest if key[0] == run]:
            del self._highest[key]

    def _highest_number(self, run: Path, folder: Path, name: str) -> int:
        if (run, name) not in self._highest:
            noted = self._noted(run).get(name, set())
            self._highest[run, name] = max(noted | _on_disk(folder, name), default=0)
        return self._highest[run, name]

    def _noted(self, run: Path) -> dict[str, set[int]]:
        """Return the numbers that notes of the run name, also those of versions that were removed later."""
        with self._reading:
            if run not in self._read:
                by_name: dict[str, set[int]] = {}
                for entry in read_facts(run).artifacts.entries:
                    if entry.version is not None:
                        by_name.setdefault(entry.name, set()).add(entry.version)
                self._read[run] = by_name
            return self._read[run]


def version_name(number: int, name: str) -> str:
    """Return the name of a version's file or folder. Never blocks."""
    return f"v{number}_{name}"


def versions_folder(run: Path, name: str) -> Path:
    """Return the folder of a name's versions; create it if it is missing. Blocks on the disk.

    Raises:
        InvalidNameError: it leads out of the run folder, through a symbolic link.
    """
    return made_inside(run, "versions", name)


def made_inside(run: Path, *parts: str) -> Path:
    """Return a folder below the run folder, all of it durable. Blocks and raises as :func:`versions_folder`."""
    folder = run
    for depth in range(1, len(parts) + 1):
        folder = inside(run, *parts[:depth])
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            fsync_dir(folder.parent)
    return folder


def _on_disk(folder: Path, name: str) -> set[int]:
    pattern = re.compile(rf"v(\d+)_{re.escape(name)}")
    return {int(match[1]) for entry in os.listdir(folder) if (match := pattern.fullmatch(entry))}

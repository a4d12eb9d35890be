"""Version numbers: which comes next, and claiming it so that two collectors never take the same one."""

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
    """The highest number of each name in each run, read once and kept."""

    def __init__(self) -> None:
        self._highest: dict[tuple[Path, str], int] = {}
        self._read: dict[Path, dict[str, set[int]]] = {}
        self._reading = threading.Lock()

    def claim(self, run: Path, name: str, put: Callable[[Path], None]) -> int:
        """Return the number under which ``put`` placed a version; holes are allowed, doubles are not.

        Args:
            put: places it at the path it is given; raises FileExistsError, or what a rename onto something
                raises, where that is taken.
        """
        folder = versions_folder(run, name)
        number = self._known(run, folder, name)
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

    def take(self, run: Path, name: str, number: int) -> None:
        """Remember that a note names this number: it is no longer anybody's who tries again."""
        self._noted(run).setdefault(name, set()).add(number)

    def unnoted(self, run: Path, name: str) -> list[tuple[int, Path]]:
        """Return versions on disk of which no note is known: what a kill left between link and note."""
        folder = versions_folder(run, name)
        noted = self._noted(run).get(name, set())
        return [(number, folder / version_name(number, name)) for number in _on_disk(folder, name) - noted]

    def forget(self, run: Path) -> None:
        """Read anew what is known of a run's numbers."""
        self._read.pop(run, None)
        for key in [key for key in self._highest if key[0] == run]:
            del self._highest[key]

    def _known(self, run: Path, folder: Path, name: str) -> int:
        if (run, name) not in self._highest:
            noted = self._noted(run).get(name, set())
            self._highest[run, name] = max(noted | _on_disk(folder, name), default=0)
        return self._highest[run, name]

    def _noted(self, run: Path) -> dict[str, set[int]]:
        """Return the numbers that notes of the run name, also of versions that were removed since."""
        with self._reading:
            if run not in self._read:
                found: dict[str, set[int]] = {}
                for entry in read_facts(run).artifacts.entries:
                    if entry.version is not None:
                        found.setdefault(entry.name, set()).add(entry.version)
                self._read[run] = found
            return self._read[run]


def version_name(number: int, name: str) -> str:
    """Return what a version is called in its folder."""
    return f"v{number}_{name}"


def versions_folder(run: Path, name: str) -> Path:
    """Return the folder of a name's versions, made if it is not there.

    Raises:
        InvalidNameError: it leads out of the run folder, through a symbolic link.
    """
    return made_inside(run, "versions", name)


def made_inside(run: Path, *parts: str) -> Path:
    """Return a folder below the run's, each part of it made durable; raises as versions_folder."""
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

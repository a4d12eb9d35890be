"""Knows ``base_dir`` again, so that a run is taken for removed only where its folder truly is.

A disk that is not mounted leaves an empty folder in its place, in which every run is missing. So what is not
there counts as removed only in the very folder that this collector works for. Where the state lies in
``base_dir`` itself, that is the folder in which it was found. Where it lies apart, it keeps the folder's
number on its disk, which stays the same when the disk is mounted again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from neural.tracking.core.files import atomic_write
from neural.tracking.errors import RetryLater
from neural.tracking.formats.run_file import RunFile
from neural.tracking.state.paths import State

RECORD_FILE = "base-dir"


class BaseDir:
    """One process's view of a ``base_dir``; asks the disk each time. Blocks."""

    def __init__(self, state: State) -> None:
        self._base_dir, self._root = state.base_dir, state.root
        self._record = None if state.root.is_relative_to(state.base_dir) else state.root / RECORD_FILE
        self._known: str | None = None
        self._known_root: str | None = None
        self._doubted = False

    def learn(self, *, record: bool = False) -> None:
        """Remember which folder it is; nothing where that cannot be found out now.

        Args:
            record: keep it for later lives where none did so yet, as only the collector itself does.
        """
        with contextlib.suppress(OSError):
            self._known_root = self._known_root or _identity(os.stat(self._root))
            now = self._identity(os.stat(self._base_dir))
            if self._record is None:
                self._known = self._known or now
                return
            self._known = _read(self._record)
            if record and self._known is None:
                atomic_write(self._record, now.encode(), mode=0o600)
                self._known = now
            elif record and self._known == now:
                os.utime(self._record)  # when it was last seen to be the same

    def check(self) -> None:
        """Return if ``base_dir`` is there and the one it was, and so is the state folder.

        Raises:
            RetryLater: it is not just now.
        """
        self._ask(None)

    def lacks(self, name: str) -> bool:
        """Return whether ``base_dir`` holds nothing of that name, and is the folder it was.

        Raises:
            RetryLater: nobody can tell just now.
        """
        return self._ask(name)

    def prove(self, run: Path) -> None:
        """Take ``base_dir`` for the one it was, on a new disk perhaps, if this run is older than the doubt."""
        if not self._doubted or self._record is None:
            return
        with contextlib.suppress(OSError):
            found, seen_ns = RunFile.read(run), self._record.stat().st_mtime_ns
            if found is not None and found.opened_ns < seen_ns:
                self._known = self._identity(os.stat(self._base_dir))
                atomic_write(self._record, self._known.encode(), mode=0o600)
                self._doubted = False

    def _ask(self, name: str | None) -> bool:
        if self._known is None or self._known_root is None or self._doubted:
            self.learn()
        try:
            # One descriptor for both questions: a mount in between would answer them of two folders.
            fd = os.open(self._base_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                lacking = name is not None and _is_absent(name, fd)
                now = self._identity(os.fstat(fd))
            finally:
                os.close(fd)
            root = _identity(os.stat(self._root))
        except FileNotFoundError as error:
            raise RetryLater(f"{error.filename} is not there") from error
        except OSError as error:
            raise RetryLater(f"{self._base_dir} cannot be looked at: {error}") from error
        self._doubted = now != self._known or root != self._known_root
        if name is not None and not lacking:
            return False
        if self._doubted:
            raise RetryLater(f"{self._base_dir} is not the folder it was; {self._remedy()}")
        return lacking

    def _remedy(self) -> str:
        asked = "is its disk mounted? what is missing is waited for"
        if self._record is None:
            return f"{asked}; a collector that is started anew takes it as it is"
        return f"{asked}; where it was made anew, remove {self._record}"

    def _identity(self, found: os.stat_result) -> str:
        return _identity(found) if self._record is None else str(found.st_ino)


def _identity(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}"


def _is_absent(name: str, fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    return False


def _read(record: Path) -> str | None:
    try:
        return record.read_text("ascii", "replace")
    except FileNotFoundError:
        return None

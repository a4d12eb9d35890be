"""Recognizes ``base_dir``, so that a run counts as removed only if its folder is really gone.

If a disk is not mounted, its mount point is an empty folder in which every run is missing. So a missing run
counts as removed only if ``base_dir`` is the same folder as before. If the state folder is inside
``base_dir``, that is the folder in which the collector found it at its start. If the state folder is
elsewhere, it holds a record of the folder's inode number, which remains the same when the disk is mounted
again.
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
    """One process's view of a ``base_dir``. All methods read the disk each time and block on it."""

    def __init__(self, state: State) -> None:
        self._base_dir, self._root = state.base_dir, state.root
        self._record = None if state.root.is_relative_to(state.base_dir) else state.root / RECORD_FILE
        self._known: str | None = None
        self._known_root: str | None = None
        self._uncertain = False

    def learn(self, *, record: bool = False) -> None:
        """Remember the identity of the folder; do nothing if it cannot be determined now.

        Args:
            record: also write it to the disk for later processes; only the collector does so.
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
                os.utime(self._record)  # the time at which the identity was last confirmed

    def check(self) -> None:
        """Return if ``base_dir`` and the state folder exist and are the same folders as before.

        Raises:
            RetryLater: they are not, at present.
        """
        self._check_folder(None)

    def lacks(self, name: str) -> bool:
        """Return whether ``base_dir``, being the same folder as before, has no entry of that name.

        Raises:
            RetryLater: that cannot be determined now.
        """
        return self._check_folder(name)

    def prove(self, run: Path) -> None:
        """Accept a changed identity of ``base_dir`` (a new disk, for example) if it holds this run.

        The run must be older than the time at which the identity was last confirmed. Has no effect otherwise.
        """
        if not self._uncertain or self._record is None:
            return
        with contextlib.suppress(OSError):
            found, seen_ns = RunFile.read(run), self._record.stat().st_mtime_ns
            if found is not None and found.opened_ns < seen_ns:
                self._known = self._identity(os.stat(self._base_dir))
                atomic_write(self._record, self._known.encode(), mode=0o600)
                self._uncertain = False

    def _check_folder(self, name: str | None) -> bool:
        if self._known is None or self._known_root is None or self._uncertain:
            self.learn()
        try:
            # One descriptor for both checks: with a mount in between they would see two different folders.
            fd = os.open(self._base_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                lacking = name is not None and _is_absent(name, fd)
                now = self._identity(os.fstat(fd))
            finally:
                os.close(fd)
            root = _identity(os.stat(self._root))
        except FileNotFoundError as error:
            raise RetryLater(f"{error.filename} is missing") from error
        except OSError as error:
            raise RetryLater(f"{self._base_dir} cannot be read: {error}") from error
        self._uncertain = now != self._known or root != self._known_root
        if name is not None and not lacking:
            return False
        if self._uncertain:
            raise RetryLater(f"{self._base_dir} is not the same folder as before; {self._remedy()}")
        return lacking

    def _remedy(self) -> str:
        advice = "is its disk mounted? the collector waits for what is missing"
        if self._record is None:
            return f"{advice}; a restarted collector accepts the folder as it is"
        return f"{advice}; if the folder was made again, remove {self._record}"

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

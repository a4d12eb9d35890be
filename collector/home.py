"""Knows ``base_dir`` again, so that a run is taken for removed only where its folder truly is.

A disk that is not mounted leaves an empty folder in its place, in which every run is missing. So what is not
there counts as removed only in the very folder that this collector works for. Where the state lies in
``base_dir`` itself, that is the folder in which it was found; else a mark in both tells.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from neural.tracking.errors import RetryLater
from neural.tracking.files import atomic_write
from neural.tracking.state import State

MARK_FILE = "base-dir-mark"


class Home:
    """One process's view of a ``base_dir``; asks the disk each time. Blocks."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._marked = not state.root.is_relative_to(state.base_dir)
        self._known: str | None = None
        self._root: str | None = None
        self._doubted = False

    def learn(self, *, mark: bool = False) -> None:
        """Remember which folder it is; nothing where that cannot be found out now.

        Args:
            mark: put a mark where state and ``base_dir`` have none, as only the collector itself does.
        """
        with contextlib.suppress(OSError):
            self._root = self._root or _identity(self._state.root)
            if not self._marked:
                self._known = self._known or _identity(self._state.base_dir)
                return
            self._known = _read(self._state.root / MARK_FILE)
            if self._known is None and mark:
                place = self._state.base_dir / ".ntrack" / MARK_FILE
                if _read(place) is None:
                    atomic_write(place, secrets.token_hex(16).encode())
                self._known = _read(place)  # that of another collector, if it came first
                atomic_write(self._state.root / MARK_FILE, (self._known or "").encode(), mode=0o600)

    def check(self) -> None:
        """Return if ``base_dir`` is there and the one it was, and so is the state folder.

        Raises:
            RetryLater: it is not just now.
        """
        self._opened_and_checked(None)

    def lacks(self, name: str) -> bool:
        """Return whether ``base_dir`` holds nothing of that name, and is the folder it was.

        Raises:
            RetryLater: nobody can tell just now.
        """
        return self._opened_and_checked(name)

    def prove(self) -> None:
        """Take it for the one it was, since it holds a run of it: who emptied ``.ntrack`` took the mark."""
        if self._doubted and self._marked and self._known is not None:
            place = self._state.base_dir / ".ntrack" / MARK_FILE
            with contextlib.suppress(OSError):
                if _read(place) is None:
                    atomic_write(place, self._known.encode())
                self._doubted = False

    def _opened_and_checked(self, name: str | None) -> bool:
        base_dir = self._state.base_dir
        if self._known is None or self._root is None:
            self.learn()
        try:
            # One descriptor for both questions: a mount in between would answer them of two folders.
            fd = os.open(base_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                lacking = name is not None and _is_absent(name, fd)
                found = self._identity_of(fd)
            finally:
                os.close(fd)
            root = _identity(self._state.root)
        except FileNotFoundError as error:
            raise RetryLater(f"{error.filename} is not there") from error
        except OSError as error:
            raise RetryLater(f"{base_dir} cannot be looked at: {error}") from error
        if found is None or found != self._known or root != self._root:
            self._doubted = True
            raise RetryLater(
                f"{base_dir} is not the folder it was: is its disk mounted? what is missing there is waited for"
            )
        return lacking

    def _identity_of(self, fd: int) -> str | None:
        if self._marked:
            return _read(Path(f".ntrack/{MARK_FILE}"), fd)
        status = os.fstat(fd)
        return f"{status.st_dev}:{status.st_ino}"


def _identity(folder: Path) -> str:
    status = os.stat(folder)
    return f"{status.st_dev}:{status.st_ino}"


def _is_absent(name: str, fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    return False


def _read(path: Path, fd: int | None = None) -> str | None:
    """Return the mark in a file, None where there is none."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    with open(opened, "rb") as file:
        return file.read(64).decode("ascii", "replace") or None

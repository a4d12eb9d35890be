"""Whose a file or folder is: what others may write to is not to be believed, and not to be written into.

Whoever can write where the state or the settings lie can take the collector's place, read along, or name
an interpreter. Root may: it can do all of that anyway. So may the group that is this user's alone, which
is what a umask of 002 counts on.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_not_own(folder: Path) -> str | None:
    """Return why a folder that is to be this user's own is not; None where it is, or is not there."""
    try:
        status = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # what is above it does not let us look
        return f"{folder} cannot be looked at: {error.strerror}"
    if stat.S_ISLNK(status.st_mode):
        return f"{folder} is a symbolic link"
    if status.st_uid != os.geteuid():
        return f"{folder} is another user's folder (user {status.st_uid})"
    return None


def why_not_trusted(path: Path) -> str | None:
    """Return why what a file or folder holds may be others' word, and what to do; None where it is not.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    status = path.stat()  # of what a link leads to: it is the owner's, too, wherever it lies
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user ({status.st_uid}): remove it, or `chown` it"
    if status.st_mode & stat.S_IWOTH or (
        status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid)
    ):
        return f"{path} may be written to by others: `chmod go-w {path}`, once you know that it holds yours"
    return None


def take_write_from_others(folder: Path) -> None:
    """Take from others the right to write into a folder of this user's, where they have it; raises OSError."""
    status = folder.stat()
    if status.st_uid == os.geteuid() and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder.chmod(stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))


def is_world_writable(folder: Path) -> bool:
    """Return whether all may replace what is in a folder: in one with the sticky bit, only what is theirs."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def owner_of(folder: Path) -> int | None:
    """Return the user a folder belongs to, None where that cannot be told."""
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _is_private(group: int, user: int) -> bool:
    """Return whether nobody but this user is in the group: named as he is, his first, without other members."""
    import grp
    import pwd

    try:
        whose, who = grp.getgrgid(group), pwd.getpwuid(user)
    except KeyError:
        return False
    return who.pw_gid == group and whose.gr_name == who.pw_name and set(whose.gr_mem) <= {who.pw_name}

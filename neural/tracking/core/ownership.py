"""Checks who owns and who can write a file or folder; this package neither trusts nor uses other users' ones.

A user who can write to the state folder or the settings can replace the collector, read the data, or name an
interpreter. Root is trusted, since it can do all of that anyway. So is a group with only this user in it, which
a umask of 002 relies on.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_not_own(folder: Path) -> str | None:
    """Return why a folder does not belong to this user alone; None if it does, or is missing."""
    try:
        status = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a folder above it is not readable
        return f"{folder} cannot be checked: {error.strerror}"
    if stat.S_ISLNK(status.st_mode):
        return f"{folder} is a symbolic link"
    if status.st_uid != os.geteuid():
        return f"{folder} is another user's folder (user {status.st_uid})"
    return None


def why_not_trusted(path: Path) -> str | None:
    """Return why other users may have written a file or folder, and what to do; None if they cannot.

    Raises:
        OSError: the path is missing, or cannot be checked.
    """
    status = path.stat()  # follows a link: its target must be safe, too
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user ({status.st_uid}): remove it, or `chown` it"
    if status.st_mode & stat.S_IWOTH or (
        status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid)
    ):
        return f"{path} may be written to by others: `chmod go-w {path}`, once you know that it holds yours"
    return None


def take_write_from_others(folder: Path) -> None:
    """Remove other users' permission to write into a folder of this user; raises OSError."""
    status = folder.stat()
    if status.st_uid == os.geteuid() and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder.chmod(stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))


def is_world_writable(folder: Path) -> bool:
    """Return whether all users can replace files in a folder; False with a sticky bit or if unreadable."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def owner_of(folder: Path) -> int | None:
    """Return the user id of a folder's owner, None if it cannot be read."""
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _is_private(group: int, user: int) -> bool:
    """Return whether the group is private to the user: the primary group, of the same name, without others."""
    import grp
    import pwd

    try:
        whose, who = grp.getgrgid(group), pwd.getpwuid(user)
    except KeyError:
        return False
    return who.pw_gid == group and whose.gr_name == who.pw_name and set(whose.gr_mem) <= {who.pw_name}

"""Copies and digests of files; a copy shares blocks if the file system can, else the kernel copies."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural.tracking.core import os_support

PIECE_BYTES = 8 << 20  # between two calls of the progress callback, which may stop the copy
HASH_BYTES = 1 << 20

Progress = Callable[[int], None]


class Stopped(Exception):
    """Raised by a progress callback to stop the work; the caller repeats it later."""


def nothing(count: int) -> None:
    """Do nothing; the default progress callback."""


def clone_or_copy(source_fd: int, target_fd: int, progress: Progress = nothing) -> tuple[str, int]:
    """Fill the empty target with the source's bytes; return the method (``reflink`` or ``copy``) and the size.

    Blocks on the disk. Holes stay holes. If the source grows meanwhile, the target gets only its first
    ``st_size`` bytes; if it shrinks, fewer.

    Raises:
        OSError: for example there is no room; the target then holds a part.
    """
    size = os.fstat(source_fd).st_size
    if not size:
        return "copy", _read_to_the_end(source_fd, target_fd, progress)
    if os_support.reflink(source_fd, target_fd):
        return "reflink", os.fstat(target_fd).st_size
    done = 0
    for start, end in os_support.data_extents(source_fd, size):
        progress(start - done)
        os.lseek(source_fd, start, os.SEEK_SET)
        os.lseek(target_fd, start, os.SEEK_SET)
        done = start
        while done < end:
            count = os_support.copy_piece(source_fd, target_fd, min(PIECE_BYTES, end - done))
            if not count:
                return "copy", done
            done += count
            progress(count)
    if os.fstat(source_fd).st_size < size:
        return "copy", done
    progress(size - done)
    os.ftruncate(target_fd, size)
    return "copy", size


def _read_to_the_end(source_fd: int, target_fd: int, progress: Progress) -> int:
    """Copy a file whose size is 0: only reading shows what a file of /proc contains."""
    copied = 0
    os.lseek(source_fd, 0, os.SEEK_SET)
    while count := os_support.read_and_write(source_fd, target_fd, PIECE_BYTES):
        copied += count
        progress(count)
        if copied >= os.fstat(source_fd).st_size > 0:
            break  # a log that is written to never ends
    return copied


def digest(fd: int, progress: Progress = nothing) -> str:
    """Return the SHA-256 of a whole open file, 64 hex digits. Blocks on the disk; raises OSError."""
    import hashlib

    found = hashlib.sha256()
    buffer = bytearray(HASH_BYTES)
    view = memoryview(buffer)
    with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
        file.seek(0)
        while count := file.readinto(view):
            found.update(view[:count])
            progress(count)
    return found.hexdigest()


def begins_with(whole: int, beginning: int, progress: Progress = nothing) -> bool:
    """Return whether one open file begins with all bytes of another. Blocks on the disk; raises OSError."""
    first, second = bytearray(HASH_BYTES), bytearray(HASH_BYTES)
    at = 0
    while count := os.preadv(beginning, [first], at):
        if os.preadv(whole, [memoryview(second)[:count]], at) != count or first[:count] != second[:count]:
            return False
        at += count
        progress(count)
    return True


def open_regular(path: Path | str, *, follow: bool) -> int:
    """Open a regular file for reading; return its descriptor. Never waits, not even for a FIFO or a device.

    Raises:
        OSError: as of ``open`` (missing, not permitted, a loop of links), or not a regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise OSError(errno.ENXIO, "a socket, neither a regular file nor a folder", os.fspath(path)) from None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "neither a regular file nor a folder", os.fspath(path))


def identity(found: os.stat_result) -> tuple[int, int, int, int]:
    """Return values that change if somebody writes to the file or replaces it."""
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def identity_from_event(value: Any) -> tuple[int, int, int, int] | None:
    """Return the identity in an event's value, None if it is not valid."""
    if isinstance(value, list) and len(value) == 4 and all(type(item) is int for item in value):
        return (value[0], value[1], value[2], value[3])
    return None

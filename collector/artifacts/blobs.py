"""Blobs: the bytes of artifacts, each stored once under its SHA-256, with hard links from the run folders.

A blob with one link is unreferenced, and any process may sweep it at any time. It is then linked again from
what waits in the spool. Everything here blocks on the disk.
"""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from neural.tracking.core import copying
from neural.tracking.core.copying import Progress, open_regular
from neural.tracking.core.files import fsync_dir

READ_ONLY = 0o444
_NO_LINK = frozenset((errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV))


class Staged(NamedTuple):
    """A file whose bytes are durable, on the file system of the blobs, and that no other process may change."""

    path: Path
    sha256: str
    size: int
    executable: bool


def stage(source_fd: int, source: Path, temporary: Path, progress: Progress) -> Staged:
    """Hash a file and make it durable; return it, or a copy that only this process knows.

    Args:
        source_fd, source: a file opened for reading. It is used as it is if it lies on the file system of
            ``temporary``, has no second name and belongs to this user.
        temporary: the path for a copy; the caller removes it in the end.
        progress: is called with the size of each piece, in bytes; may raise.

    Raises:
        OSError: for example there is no room; calling again is safe.
    """
    status = os.fstat(source_fd)
    folder = os.stat(temporary.parent)
    if status.st_dev == folder.st_dev and status.st_nlink == 1 and status.st_uid == os.geteuid():
        return _hashed(source_fd, source, progress)
    temporary.unlink(missing_ok=True)
    mode = 0o700 if status.st_mode & 0o111 else 0o600
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        copying.clone_or_copy(source_fd, fd, lambda count: progress(0))
        return _hashed(fd, temporary, progress)
    finally:
        os.close(fd)


def _hashed(fd: int, path: Path, progress: Progress) -> Staged:
    executable = bool(os.fstat(fd).st_mode & 0o111)
    os.fchmod(fd, READ_ONLY | (0o111 if executable else 0))
    with ThreadPoolExecutor(1) as pool:  # the disk writes while the processor hashes
        syncing = pool.submit(os.fsync, fd)
        sha256 = copying.digest(fd, progress)
        syncing.result()
    return Staged(path, sha256, os.fstat(fd).st_size, executable)


def add(root: Path, staged: Staged, progress: Progress) -> Path:
    """Make the staged file a blob, or find the blob with the same bytes; return its path. It is durable then.

    A blob that no longer holds its bytes is replaced; ``ntrack verify`` finds the versions that share it.
    """
    blob = blob_path(root, staged.sha256)
    if not blob.parent.is_dir():
        blob.parent.mkdir(exist_ok=True)
        fsync_dir(root)
    try:
        os.link(staged.path, blob)
    except FileExistsError:
        if not _holds_same_bytes(blob, staged.path, progress):
            _replace(staged.path, blob)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return staged.path  # a file system without hard links: nothing is shared
    fsync_dir(blob.parent)
    return blob


def blob_path(root: Path, sha256: str) -> Path:
    """Return the path of the blob with this digest. Never blocks."""
    return root / sha256[:2] / sha256


def link(blob: Path, target: Path) -> None:
    """Give the bytes of a blob a name in a run folder: a hard link, or a copy if no more links are possible.

    Raises:
        FileExistsError: the name is taken.
        FileNotFoundError: the blob was swept, or the folder is not there.
    """
    try:
        os.link(blob, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    fd = open_regular(blob, follow=False)
    try:
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, READ_ONLY)
        try:
            copying.clone_or_copy(fd, copy)
            os.fsync(copy)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(fd)


def _holds_same_bytes(blob: Path, other: Path, progress: Progress) -> bool:
    first, second = open_regular(blob, follow=False), open_regular(other, follow=False)
    try:
        if os.fstat(first).st_ino == os.fstat(second).st_ino:
            return True
        same_size = os.fstat(first).st_size == os.fstat(second).st_size
        return same_size and copying.begins_with(first, second, lambda count: progress(0))
    finally:
        os.close(first)
        os.close(second)


def _replace(path: Path, blob: Path) -> None:
    fresh = blob.with_name(f".tmp-{os.urandom(8).hex()}")
    os.link(path, fresh)
    os.rename(fresh, blob)

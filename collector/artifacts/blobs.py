"""Blobs: every artifact's bytes once, under their SHA-256, and hard links to them in run folders.

A blob with one link is nobody's, and may be swept away at any time, by whomever: then it is linked anew
from what waits in the spool.
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
    """A file whose bytes are durable, on the file system of the blobs, and that nobody else may change."""

    path: Path
    sha256: str
    size: int


def stage(source_fd: int, source: Path, temporary: Path, progress: Progress) -> Staged:
    """Hash a file and make it durable; return it, or a copy of it that is ours alone.

    Args:
        source_fd, source: a file that was opened for reading; used as it is where it is on the file system of
            ``temporary``, has no second name and belongs to this user.
        temporary: where a copy goes, to be removed by the caller in the end.

    Raises:
        OSError: no room, for one; calling again is safe.
    """
    found = os.fstat(source_fd)
    folder = os.stat(temporary.parent)
    if found.st_dev == folder.st_dev and found.st_nlink == 1 and found.st_uid == os.geteuid():
        return _hashed(source_fd, source, progress)
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copying.clone_or_copy(source_fd, fd, lambda count: progress(0))
        return _hashed(fd, temporary, progress)
    finally:
        os.close(fd)


def _hashed(fd: int, path: Path, progress: Progress) -> Staged:
    os.fchmod(fd, READ_ONLY)
    with ThreadPoolExecutor(1) as pool:  # the disk writes while the processor hashes
        syncing = pool.submit(os.fsync, fd)
        sha256 = copying.digest(fd, progress)
        syncing.result()
    return Staged(path, sha256, os.fstat(fd).st_size)


def add(root: Path, staged: Staged, progress: Progress) -> Path:
    """Make the staged file a blob, or find the one with the same bytes; return its path. Durable.

    A blob that no longer holds its bytes is replaced: the versions that share it are found by verify.
    """
    blob = place(root, staged.sha256)
    if not blob.parent.is_dir():
        blob.parent.mkdir(exist_ok=True)
        fsync_dir(root)
    try:
        os.link(staged.path, blob)
    except FileExistsError:
        if not _same(blob, staged.path, progress):
            _replace(staged.path, blob)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return staged.path  # a file system without hard links: nothing is shared
    fsync_dir(blob.parent)
    return blob


def place(root: Path, sha256: str) -> Path:
    """Return where the blob of this digest lies."""
    return root / sha256[:2] / sha256


def link(blob: Path, target: Path) -> None:
    """Give the bytes of a blob a name in a run folder: a hard link, or a copy where there are none left.

    Raises:
        FileExistsError: the name is taken.
        FileNotFoundError: the blob was swept away, or the folder is not there.
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


def _same(blob: Path, other: Path, progress: Progress) -> bool:
    first, second = open_regular(blob, follow=False), open_regular(other, follow=False)
    try:
        if os.fstat(first).st_ino == os.fstat(second).st_ino:
            return True
        same_size = os.fstat(first).st_size == os.fstat(second).st_size
        return same_size and copying.same_bytes(first, second, lambda count: progress(0))
    finally:
        os.close(first)
        os.close(second)


def _replace(path: Path, blob: Path) -> None:
    fresh = blob.with_name(f".tmp-{os.urandom(8).hex()}")
    os.link(path, fresh)
    os.rename(fresh, blob)

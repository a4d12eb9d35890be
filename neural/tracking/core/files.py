"""Writes files so that a crash leaves the old or the new content; checks that paths are inside their root."""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import shutil
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural.tracking.errors import InvalidNameError

TEMPORARY_PREFIX = ".tmp-"
_NOT_OURS = frozenset((errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS))


def fsync_dir(folder: Path) -> None:
    """Make renames and unlinks in ``folder`` durable. Blocks on the disk; raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Make a file's content durable, also if another process wrote it. Blocks on the disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_upwards(folder: Path) -> None:
    """Make the entries of a folder, and of every folder above it on this disk, durable.

    A folder that may not be opened is skipped: it existed before. Blocks on the disk; raises OSError.
    """
    device = folder.stat().st_dev
    for place in (folder, *folder.parents):
        if place.stat().st_dev != device:
            return
        try:
            fsync_dir(place)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``. Blocks on the disk; an OSError may leave a part written."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def atomic_write(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data``: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: a reader sees the old content or the new, never a mixture.
        data: the whole content.
        durable: False omits both syncs, for views that can be made again.
        mode: permissions of the new file.

    Raises:
        OSError: nothing was changed; the temporary file is gone.

    Blocks: on the disk, mostly if ``durable``.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.urandom(6).hex()}-{path.name[-100:]}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, data, 0)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_dir(path.parent)


def write_json(path: Path, value: Any, *, durable: bool = True, mode: int = 0o644) -> None:
    """Write ``value`` as indented JSON; block and raise as :func:`atomic_write`, ValueError for NaN."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write(path, text.encode("utf-8", "backslashreplace"), durable=durable, mode=mode)


def json_checksum(value: Mapping[str, Any]) -> str:
    """Return a checksum of a JSON object, eight hex digits."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(canonical.encode()):08x}"


def is_there(path: Path) -> bool:
    """Return whether the path exists; a broken link counts.

    ``Path.exists`` returns False for every error in some versions of Python; this raises instead.

    Raises:
        OSError: the path cannot be checked now.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_surely_gone(path: Path) -> bool:
    """Return whether the path does not exist; False also if it cannot be checked now."""
    try:
        return not is_there(path)
    except OSError:
        return False


def is_still_at(path: Path, fd: int) -> bool:
    """Return whether the open file is the one at ``path``; False also if the path cannot be checked."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the entries of a folder whose names match the pattern, sorted; none if the folder is missing.

    ``Path.glob`` silently skips a folder that cannot be read; this raises instead.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(folder / name for name in fnmatch.filter(names, pattern))


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file. Blocks on the disk; raises OSError, also for a FIFO or a device."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        return file.read()


def read_json(path: Path) -> Any:
    """Return the JSON in ``path``, None if the file is missing. Blocks on the disk.

    Raises:
        ValueError: the file is not JSON.
        OSError: the file cannot be read, or is not a regular file.
    """
    try:
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deep") from error


def inside(root: Path, *parts: str) -> Path:
    """Return ``root`` joined with ``parts``, resolved and checked to be inside ``root``.

    Raises:
        InvalidNameError: the path would leave ``root``, through ``..`` or a symbolic link.
        OSError: a loop of symbolic links.
    """
    try:
        resolved_root = root.resolve()
        path = resolved_root.joinpath(*parts).resolve()
    except RuntimeError as error:  # Python up to 3.12 raises it for a loop of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(root.joinpath(*parts))) from error
    if path == resolved_root or not path.is_relative_to(resolved_root):
        raise InvalidNameError("path", "/".join(parts), f"leaves its folder {root}")
    return path


def remove_run_folder(folder: Path) -> None:
    """Remove a run folder; rename it first, so that a half-removed folder is not found as a run.

    Blocks on the disk.

    Raises:
        OSError: the folder is unchanged, or a part of it is left under a hidden name.
    """
    going = folder.with_name(f".tmp-deleted-{folder.name[-100:]}-{os.urandom(4).hex()}")
    os.rename(folder, going)
    shutil.rmtree(going)

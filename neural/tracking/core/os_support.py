"""Functions that differ between operating systems, each with a fallback; no other module checks the system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import math
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural.tracking.errors import ConfigError

if sys.platform == "win32":  # pragma: no cover
    raise ImportError("neural.tracking runs on Linux and macOS; on Windows use it inside WSL")

# Any other file system counts as a network one: a mistake is then only slower, not unsafe.
_LOCAL_FILE_SYSTEMS = frozenset((
    "ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "zfs", "ramfs", "rootfs", "bcachefs",
    "jfs", "reiserfs", "vfat", "exfat", "ntfs", "ntfs3", "ubifs", "ecryptfs", "erofs", "squashfs", "iso9660",
))  # fmt: skip

MAX_RESERVE_BYTES = 1 << 30
_MADV_POPULATE_WRITE = 23  # Linux 5.14; other systems refuse it, and no page changes
_FICLONE = 0x40049409
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_CANNOT_COPY = frozenset((errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM))


def preallocate(fd: int, size_bytes: int) -> None:
    """Reserve ``size_bytes`` of disk for the file, so that a mapped store cannot fail on a full disk.

    Blocks on the disk.

    Raises:
        OSError: there is no room; the file may have grown, so the caller should remove it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size_bytes)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size_bytes, len(zeros)):
        os.pwrite(fd, zeros[: size_bytes - start], start)


def populate(mapping: mmap.mmap, start: int, size: int) -> bool:
    """Prepare the pages of ``mapping[start:start+size]`` for stores; return whether that worked.

    Otherwise the first store into a page that is new, or that writeback has cleaned, costs the storing thread
    some 10 µs. This changes no byte: another thread may write the same page at the same time.
    """
    import ctypes

    start -= start % mmap.PAGESIZE
    size = min(size, len(mapping) - start)
    if size <= 0:
        return False
    # ctypes releases the GIL during the call; mmap.madvise does not.
    first = ctypes.c_char.from_buffer(mapping, start)
    return bool(_libc().madvise(ctypes.addressof(first), size, _MADV_POPULATE_WRITE) == 0)


@functools.cache
def _libc() -> Any:
    import ctypes  # takes some milliseconds, on the sender's thread

    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc


def free_and_reserve(folder: Path) -> tuple[int, int]:
    """Return the free bytes of the disk, and the reserve that outboxes and log must leave; raises OSError."""
    disk = os.statvfs(folder)
    if not disk.f_blocks:  # some file systems do not report their size
        return 1 << 62, 0
    return disk.f_bavail * disk.f_frsize, min(disk.f_blocks * disk.f_frsize // 20, MAX_RESERVE_BYTES)


def check_reserve(folder: Path, size: int) -> None:
    """Raise OSError (ENOSPC) if ``size`` more bytes would use the disk's reserve."""
    free, reserve = free_and_reserve(folder)
    if free - size < reserve:
        reason = f"{size} bytes are needed, {free} are free, {reserve} of them are reserved"
        raise OSError(errno.ENOSPC, reason, str(folder))


def check_descriptors(count: int) -> None:
    """Raise OSError (EMFILE) unless ``count`` more files can be opened; libzmq would abort the process."""
    opened = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for fd in opened:
            os.close(fd)


def sync_data(fd: int) -> None:
    """Make the file's content durable. Blocks on the disk; raises OSError if that failed."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def reflink(source_fd: int, target_fd: int) -> bool:
    """Make the empty target share the source's blocks; return False if the file system cannot.

    It uses FICLONE (linux/fs.h), which btrfs, XFS, bcachefs and some others have.

    Raises:
        OSError: there is no room.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return False
    return True


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file of ``size`` bytes has data, as (start, end); what is between are holes.

    Source: SEEK_DATA and SEEK_HOLE in lseek(2). All of it is data where the file system has no holes.
    """
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data beyond, or the file shrank
                yield at, size
            return
        if start < at:
            yield start, at


def copy_piece(source_fd: int, target_fd: int, count: int) -> int:
    """Copy up to ``count`` bytes between the files' positions inside the kernel; return how many, 0 at the end.

    Blocks on the disk.

    Raises:
        OSError: as reading and writing, for one no room.
    """
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source_fd, target_fd, count)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
    if sys.platform == "linux":
        try:
            return os.sendfile(target_fd, source_fd, None, count)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
    return read_and_write(source_fd, target_fd, count)


def read_and_write(source_fd: int, target_fd: int, count: int) -> int:
    """Copy as :func:`copy_piece`, but through memory, 1 MiB at most, on any system."""
    data = os.read(source_fd, min(count, 1 << 20))
    view = memoryview(data)
    while view:
        view = view[os.write(target_fd, view) :]
    return len(data)


def lock_exclusively(fd: int) -> bool:
    """Take the flock of an open file; return whether it was free. Never blocks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Return whether the flock of a file is held; False if the file cannot be opened. Never blocks."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        # Shared: two concurrent checks must not take each other for the holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def own_record_lock(fd: int) -> bool:
    """Take the POSIX record lock of an open file; return whether it was free. Never blocks.

    The lock belongs to the process, not to the descriptor: a forked child does not hold it, and closing any
    other descriptor of the same file in this process drops it.
    """
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def boot_id() -> str:
    """Return an identifier that changes when the host restarts; empty if the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def process_start_ticks(pid: int) -> int | None:
    """Return the start time of a process, None if it is not found; with the pid it identifies the process.

    On Linux in clock ticks since boot, on other systems in 1/100 s since 1970.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _psutil_start(pid)
    return int(stat.rpartition(")")[2].split()[19])


def process_lives(pid: int, start_ticks: int) -> bool:
    """Return whether the process with this pid and start time still runs; False also if that is unknown."""
    if not start_ticks or process_start_ticks(pid) != start_ticks:
        return False
    try:  # a zombie is still listed
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return sys.platform != "linux"


def _psutil_start(pid: int) -> int | None:
    if sys.platform == "linux":
        return None
    import psutil

    try:
        return int(psutil.Process(pid).create_time() * 100)
    except psutil.Error:
        return None


def file_system(path: Path) -> tuple[str, bool]:
    """Return the name of the file system under ``path`` and whether it is local.

    Raises:
        ConfigError: ``NTRACK_FS`` is neither ``network`` nor ``local``.
    """
    forced = os.environ.get("NTRACK_FS")
    if forced:
        if forced not in ("network", "local"):
            raise ConfigError(f"NTRACK_FS is {forced!r}; it must be local or network")
        return f"{forced} (NTRACK_FS)", forced == "local"
    if sys.platform != "linux":
        return sys.platform, True
    # Not statfs(2): from Python it needs ctypes, and its numbers would need this table of names as well.
    real = os.path.realpath(path)
    best, name = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        mount = fields.split()[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        # The last mount of a path hides the ones before it.
        if len(mount) >= len(best) and (real + "/").startswith(mount.rstrip("/") + "/"):
            best, name = mount, rest.split()[0]
    return name, name in _LOCAL_FILE_SYSTEMS


def yield_cores(niceness: int) -> None:
    """Give this process, which leads its session, a lower CPU priority than other processes."""
    os.nice(niceness)
    # Linux first divides the cores among sessions; nice alone counts only inside this session.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def yield_everything(niceness: int) -> None:
    """Lower the priority of this process, which leads its session; 19 leaves it only idle CPU and disk time."""
    yield_cores(max(0, niceness - os.nice(0)))
    if niceness < 19 or sys.platform != "linux":
        return
    import psutil

    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError, psutil.Error):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


class Wake:
    """Wakes a thread that polls :attr:`fd`: an eventfd, or a pipe on systems without it.

    ``set`` is safe from any thread and from a signal handler and never blocks.
    """

    def __init__(self) -> None:
        self._eventfd = hasattr(os, "eventfd")
        if self._eventfd:
            self.fd = self._write_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.fd, self._write_fd = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._write_fd, False)

    def set(self) -> None:
        """Make the descriptor readable."""
        with contextlib.suppress(BlockingIOError):  # the counter or the pipe is full, so it is set
            os.write(self._write_fd, (1).to_bytes(8, sys.byteorder))

    def wait(self, timeout_s: float) -> bool:
        """Wait until the descriptor is readable, ``timeout_s`` seconds at most; return whether it is."""
        import select

        if not hasattr(select, "poll"):
            return bool(select.select([self.fd], [], [], timeout_s)[0])
        poller = select.poll()  # select() refuses descriptors from 1024 on, which a training may well have
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(math.ceil(timeout_s * 1000)))

    def clear(self) -> None:
        """Make the descriptor unreadable until the next set. Never blocks."""
        with contextlib.suppress(BlockingIOError):  # was not set
            os.read(self.fd, 8 if self._eventfd else 4096)

    def close(self) -> None:
        """Close the descriptors; the object must not be used afterwards."""
        os.close(self.fd)
        if self._write_fd != self.fd:
            os.close(self._write_fd)

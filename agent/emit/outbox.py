"""The outbox: a folder of preallocated, memory-mapped segments that outlive the process.

The emitter takes segments and writes. The sender makes spare segments in advance, reads, and gives back
acknowledged segments. A segment is preallocated before it is mapped, since a store into a hole on a full disk
would kill the process with SIGBUS.

The owner's lock is a POSIX record lock on a file that nothing else in this process opens: closing another
descriptor of the file would drop the lock. Unlike flock, a forked child does not inherit it.

The mappings are not hidden from children by MADV_DONTFORK: a child that later unmaps such a mapping would
unmap the memory that malloc may have put at its address. The fork hook closes the mappings instead.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

from neural.tracking.core import os_support
from neural.tracking.core.files import TEMPORARY_PREFIX, fsync_dir, fsync_file, is_still_at
from neural.tracking.formats import segment
from neural.tracking.state.outbox_files import (
    CONTROL_BYTES,
    CONTROL_NAME,
    INFO_NAME,
    LOCK_NAME,
    NUMBER,
    RELEASED_AT,
    pack_info,
    remove,
)
from neural.tracking.state.paths import private_folder

FIRST_SEGMENT_BYTES = 1 << 20
SEGMENT_BYTES = 8 << 20
SPARES = 2
RETRY_S = 1.0
TOUCH_STEP_BYTES = 256 << 10


class OutboxSegment:
    """One segment file and its mapping; ``base`` and ``end`` are stream offsets.

    ``marks`` are (offset, number) pairs at record boundaries, the first at ``base``. ``previous`` is the
    segment before, whose stream ended at ``previous_end``. ``removed``: the file was removed, and only the
    mapping still has its bytes.
    """

    __slots__ = ("base", "end", "map", "marks", "path", "previous", "previous_end", "removed", "size")

    def __init__(self, path: Path, size: int, mapping: mmap.mmap) -> None:
        self.path = path
        self.size = size
        self.map: mmap.mmap | None = mapping
        self.base = self.end = self.previous_end = 0
        self.marks: list[tuple[int, int]] = []
        self.previous: OutboxSegment | None = None
        self.removed = False

    @property
    def readable(self) -> bool:
        """Whether :meth:`read` can still read the segment."""
        return self.map is not None or not self.removed

    def open(
        self,
        session: bytes,
        base: int,
        before: int,
        *,
        previous: OutboxSegment | None = None,
        previous_end: int = 0,
    ) -> None:
        """Write a new header. Records start at stream offset ``base``; the first event follows ``before``."""
        assert self.map is not None
        header = segment.Header(segment.ROLE_OUTBOX, session, base, time.time_ns())
        self.base = base
        self.end = base + self.size - segment.HEADER_BYTES
        self.marks = [(base, before)]
        self.previous, self.previous_end = previous, previous_end
        self.map[: segment.HEADER_BYTES] = header.pack()

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of ``size`` bytes at stream offset ``offset``.

        An unmapped segment is read from the disk, which may raise OSError.
        """
        position = offset - self.base + segment.HEADER_BYTES
        if self.map is not None:
            return self.map[position : position + size]
        with self.path.open("rb") as file:
            file.seek(position)
            return file.read(size)

    def unmap(self) -> None:
        """Close the mapping and its descriptor; the file remains and can still be read."""
        mapping, self.map = self.map, None
        if mapping is not None:
            mapping.close()

    def retire(self) -> None:
        """Erase the header's magic, so that readers skip the segment."""
        if self.map is not None:
            self.map[: len(segment.MAGIC)] = bytes(len(segment.MAGIC))
        self.previous = None


class Outbox:
    """The folder of one session's outbox; created by :meth:`create`.

    Args:
        limit_bytes: the limit of all its segments together; None for as much as the disk allows.
    """

    def __init__(self, folder: Path, lock_fd: int, control: mmap.mmap, limit_bytes: int | None) -> None:
        self.folder = folder
        self.control = control
        self.spares: deque[OutboxSegment] = deque()
        self.size_bytes = 0  # of all segments, spares too
        self._lock_fd = lock_fd
        self._limit_bytes = limit_bytes
        self._segment_bytes = _segment_bytes(limit_bytes)
        self._count = 0
        self._retry_at = 0.0
        self.first = self._make(FIRST_SEGMENT_BYTES)

    @classmethod
    def create(
        cls, parent: Path, session: bytes, uid: bytes, info: dict[str, Any], limit_bytes: int | None
    ) -> Outbox:
        """Create the folder under a temporary name, lock it, and rename it into place. Blocks on the disk.

        Raises:
            OSError: no room, or not permitted; nothing is left behind.
            ConfigError: ``parent`` is a symbolic link or belongs to another user.
        """
        private_folder(parent)
        folder = parent / f"{TEMPORARY_PREFIX}{session.hex()}"
        folder.mkdir(mode=0o700)
        lock_fd, control = -1, None
        try:
            lock_fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not os_support.own_record_lock(lock_fd):
                raise OSError(f"{folder / LOCK_NAME} is locked by another process")
            (folder / INFO_NAME).write_bytes(pack_info(session, uid, info))
            control = _make_mapping(folder / CONTROL_NAME, CONTROL_BYTES)
            outbox = cls(folder, lock_fd, control, limit_bytes)
            final = parent / session.hex()
            os.rename(folder, final)
            outbox._moved(final)
            return outbox
        except BaseException:
            if control is not None:
                control.close()
            if lock_fd >= 0:
                os.close(lock_fd)
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _moved(self, folder: Path) -> None:
        self.folder = folder
        self.first.path = folder / self.first.path.name

    def take(self) -> OutboxSegment | None:
        """Return the next segment, a spare or a new one; None if there is no room for it.

        Blocks on the disk only if there is no spare; after a failure it does not try again for a second.
        """
        try:
            return self.spares.popleft()
        except IndexError:
            pass
        if time.monotonic() < self._retry_at:
            return None
        return self._try_make()

    def make_spare(self) -> None:
        """Create one more spare and prepare its pages, unless there are enough or there is no room.

        Blocks on the disk; the sender's thread calls it.
        """
        if len(self.spares) < SPARES and time.monotonic() >= self._retry_at:
            made = self._try_make()
            if made is not None:
                assert made.map is not None
                for start in range(0, made.size, TOUCH_STEP_BYTES):
                    os_support.populate(made.map, start, TOUCH_STEP_BYTES)
                self.spares.append(made)

    def give_back(self, done: OutboxSegment) -> None:
        """Take back an acknowledged segment: keep it as a spare, or delete its file."""
        if done.removed:
            done.unmap()
            return
        done.retire()
        if done.map is not None and done.size == self._segment_bytes and len(self.spares) < SPARES:
            self.spares.append(done)
            return
        done.unmap()
        try:
            done.path.unlink(missing_ok=True)
        except OSError:  # a disk became read-only: the file remains and counts until the folder is removed
            return
        self.size_bytes -= done.size
        self._retry_at = 0.0

    def sync_info(self) -> None:
        """Make the folder's name and description durable. Blocks on the disk; raises OSError."""
        fsync_file(self.folder / INFO_NAME)
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            fsync_dir(folder)

    def in_place(self) -> bool:
        """Return whether the folder is still at its path, and not another one of the same name."""
        return is_still_at(self.folder / LOCK_NAME, self._lock_fd)

    def leave(self) -> None:
        """Release a folder that was removed; keep the mappings of segments that are still being read."""
        for item in self.spares:
            item.unmap()
        self.control.close()
        os.close(self._lock_fd)

    def close(self, segments: list[OutboxSegment], *, delete: bool) -> None:
        """Close all mappings and release the lock; with ``delete``, remove the folder and ignore errors."""
        for item in (*segments, *self.spares):
            item.unmap()
        NUMBER.pack_into(self.control, RELEASED_AT, 1, ~1)
        self.control.close()
        if delete:
            with contextlib.suppress(OSError):  # a collector finds it, has all its events, and removes it
                remove(self.folder)
        os.close(self._lock_fd)

    def abandon(self, segments: list[OutboxSegment]) -> None:
        """Release the inherited mappings and descriptors in a forked child, without a change to the files."""
        for item in (*segments, *self.spares):
            try:
                item.unmap()
            except BufferError:  # a thread of the parent was reading it: it remains mapped, unused
                pass
        self.control.close()
        os.close(self._lock_fd)  # a record lock belongs to the process: the parent keeps its own

    def _try_make(self) -> OutboxSegment | None:
        try:
            return self._make(self._segment_bytes)
        except OSError:
            # Full, or the folder was removed: the emitter counts the events that it drops, and tries again.
            self._retry_at = time.monotonic() + RETRY_S
            return None

    def _make(self, size: int) -> OutboxSegment:
        if self._limit_bytes is not None and self.size_bytes + size > self._limit_bytes:
            raise OSError(f"outbox would pass its limit of {self._limit_bytes} bytes")
        os_support.check_reserve(self.folder, size)
        self._count += 1
        path = self.folder / f"{self._count:08d}.seg"
        made = OutboxSegment(path, size, _make_mapping(path, size))
        self.size_bytes += size
        return made


def _segment_bytes(limit_bytes: int | None) -> int:
    """Return the size of all segments but the first: 8 MiB, less if the limit is small."""
    if limit_bytes is None or limit_bytes >= 4 * SEGMENT_BYTES:
        return SEGMENT_BYTES
    return max(FIRST_SEGMENT_BYTES, limit_bytes // 4 // mmap.PAGESIZE * mmap.PAGESIZE)


def _make_mapping(path: Path, size: int) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os_support.preallocate(fd, size)
        return mmap.mmap(fd, size)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)

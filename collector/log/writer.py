"""Writes the write-ahead log by group commit: append what is queued, sync once, then call back.

Invariants:

- One group at a time: frame, write, sync. Only then the ``done`` callbacks of its entries run, in order.
- After a failed write or sync no ``done`` runs. If there is no space, or the disk is read-only: the segment is
  closed at its durable offset, and the same entries go to a new segment, every 5 s until that works. Any other
  error ends the collector. So does a log file that is no longer at its path.
- The event loop never waits for the disk: writes go through aiofiles, everything else through threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO

from neural.tracking.collector.log import disk_reserve, recovery, segment_files
from neural.tracking.collector.log.recovery import LostStretch
from neural.tracking.collector.log.segment_files import SegmentFile
from neural.tracking.collector.log.sessions import START, Position, Sessions
from neural.tracking.core import files, os_support
from neural.tracking.formats import segment
from neural.tracking.formats.segment import Buffer

logger = logging.getLogger(__name__)

GROUP_BYTES = 4 << 20
MAX_QUEUE_BYTES = 64 << 20
RETRY_S = 5.0
NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))

Done = Callable[[Position], None]


class LogEntry(NamedTuple):
    """A record to append; with ``kind`` 0 only a callback for when all entries before it are durable."""

    kind: int
    body: Sequence[Buffer]
    done: Done | None = None

    @property
    def size(self) -> int:
        """How many bytes the entry takes in the queue."""
        return sum(map(len, self.body)) + segment.FRAME_BYTES


class LogFailed(Exception):
    """The log is not reliable any more; nothing more may be acknowledged."""


class _StoppedWithoutSpace(Exception):
    """The log was asked to stop while there was no space. The outboxes keep what was not acknowledged."""


class LogWriter:
    """A part of the daemon: the append-only segments and the queue in front of them."""

    name = "log"

    def __init__(
        self,
        folder: Path,
        sessions: Sessions,
        *,
        segment_bytes: int,
        on_recovered: Callable[[], None],
        on_committed: Callable[[Position], None],
        on_failed: Callable[[LogFailed], None],
        host_went_down: bool = False,
        retry_s: float = RETRY_S,
        check_room: Callable[[int], None] = lambda more_bytes: None,  # raises OSError
    ) -> None:
        self.folder = folder
        self.segments: list[SegmentFile] = []
        self.durable = START
        self.log_id = b""
        self.disk_error: str | None = None  # why acknowledging has stopped, for people
        self.held_bytes = 0
        self.lost: list[LostStretch] = []
        self._sessions = sessions
        self._segment_bytes = min(segment_bytes, 1 << 30)
        self._on_recovered = on_recovered
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._retry_s = retry_s
        self._check_room = check_room
        self._host_went_down = host_went_down
        self._queue: deque[LogEntry] = deque()
        self._arrived = asyncio.Event()
        self._retry_now = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopping = asyncio.Event()
        self._current: SegmentFile | None = None
        self._file: AsyncFileIO | None = None
        self._offset = 0
        self._group = 0
        self._pending = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Recover the log; return once entries can be appended. Waits for the disk; raises OSError."""
        self.log_id = await asyncio.to_thread(segment_files.log_id, self.folder)
        self._segment_bytes = await asyncio.to_thread(
            disk_reserve.segment_bytes, self.folder, self._segment_bytes
        )
        state = await asyncio.to_thread(
            recovery.recover, self.folder, self._sessions, host_went_down=self._host_went_down
        )
        self.segments, self.lost = state.segments, state.lost
        if state.damaged_bytes:
            logger.error("log held %d damaged bytes; %d gaps follow", state.damaged_bytes, len(state.lost))
        if state.current is not None:
            await self._continue(state.current, state.end)
            self._group = state.group
        if state.durable is None:
            await self._next_segment()
        else:
            self.durable = state.durable
        self._idle.set()
        self._on_recovered()
        self._task = asyncio.create_task(self._commit_forever(), name="log")

    async def drain(self, deadline: float) -> int:
        """Commit what is queued and seal the segment, within the deadline; return how many were left."""
        if self._task is None:
            return 0
        self._stopping.set()
        idle = asyncio.ensure_future(self._idle.wait())
        timeout = max(0.0, deadline - time.monotonic())
        await asyncio.wait({idle, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in (idle, self._task):
            task.cancel()
        await asyncio.gather(idle, self._task, return_exceptions=True)
        self._task = None
        left = self._pending
        if self._file is not None and not left:
            try:
                await self._write_group([LogEntry(segment.NOTE, [segment_files.seal_body()])])
            except (OSError, LogFailed) as error:
                logger.error("log was not sealed: %s", error)
        await self._close()
        return left

    def append(self, kind: int, body: Sequence[Buffer], done: Done | None = None) -> None:
        """Queue a record; ``done`` gets the position after the record once it is durable. Never blocks."""
        entry = LogEntry(kind, body, done)
        self._queue.append(entry)
        self.held_bytes += entry.size
        self._pending += 1
        self._idle.clear()
        self._arrived.set()

    def after_sync(self, done: Done) -> None:
        """Call ``done`` once all that is queued now is durable; at once if nothing is queued. Never blocks."""
        if self._idle.is_set():
            done(self.durable)
        else:
            self.append(0, (), done)

    def has_queue_room(self) -> bool:
        """Return whether the queue takes more. Never blocks."""
        return self.held_bytes < MAX_QUEUE_BYTES

    async def wait_for_queue_room(self) -> None:
        """Wait until the queue takes more."""
        while not self.has_queue_room():
            await asyncio.sleep(0.005)

    def check_in_place(self) -> None:
        """Raise LogFailed if the current segment is no longer at its path. Blocks briefly on the disk."""
        if self._current is None:
            if not self.folder.is_dir():
                raise LogFailed(f"the log folder {self.folder} is gone")
            return
        try:
            at_path = os.stat(self._current.path)
        except OSError as error:
            raise LogFailed(f"log segment {self._current.path} is gone: {error}") from error
        if not os.path.samestat(at_path, os.fstat(self._fd())):
            raise LogFailed(f"log segment {self._current.path} was replaced")

    def ordinal_of(self, uuid: bytes) -> int | None:
        """Return the ordinal of a segment, None if the log does not have it (any more). Never blocks."""
        return next((s.ordinal for s in self.segments if s.uuid == uuid), None)

    def delete_passed(self, synced: Position) -> None:
        """Delete the segments that every cursor has passed, never the newest. Blocks; raises OSError."""
        while len(self.segments) > 1 and self.segments[0].ordinal < synced.ordinal:
            self.segments[0].path.unlink(missing_ok=True)
            del self.segments[0]

    def bytes_beyond(self, position: Position) -> int:
        """Return how many bytes of the log lie after a position. Blocks briefly on the disk."""
        beyond = [s for s in list(self.segments) if s.ordinal >= position.ordinal]
        size = sum(s.path.stat().st_size for s in beyond if s.path.exists())
        return size - (position.offset if beyond and beyond[0].ordinal == position.ordinal else 0)

    def retry_now(self) -> None:
        """Retry at once if the log waits for space: some space was freed. Never blocks."""
        self._retry_now.set()

    def stored_bytes(self) -> int:
        """Return how many bytes the log takes on the disk. Blocks briefly on the disk."""
        return sum(s.path.stat().st_size for s in list(self.segments) if s.path.exists())

    async def _commit_forever(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                group = self._take_group()
                if not group:
                    self._arrived.clear()
                    self._idle.set()
                    continue
                await self._commit(group)
        except _StoppedWithoutSpace as error:
            logger.error("log stopped with %d bytes held: %s", self.held_bytes, error)
        except LogFailed as error:
            self._on_failed(error)

    def _take_group(self) -> list[LogEntry]:
        """Take what is queued, up to the size of a group. It never waits for more entries."""
        group: list[LogEntry] = []
        size = 0
        while self._queue and size < min(
            GROUP_BYTES, max(self._segment_bytes, disk_reserve.LEAST_SEGMENT_BYTES)
        ):
            group.append(self._queue.popleft())
            size += group[-1].size
        return group

    async def _commit(self, group: list[LogEntry]) -> None:
        """Make the group durable, however long that takes, then run the callbacks."""
        while True:
            try:
                ends = await self._write_group(group)
                break
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise LogFailed(f"log write failed: {error}") from error
                await self._wait_for_space(error)
        if self.disk_error:
            logger.info("log continues in %s", self._current.path.name if self._current else "")
            self.disk_error = None
        for entry, end in zip(group, ends, strict=True):
            self.held_bytes -= entry.size
            self._pending -= 1
            if entry.done is not None:
                entry.done(end)
        self._on_committed(self.durable)

    async def _write_group(self, group: list[LogEntry]) -> list[Position]:
        """Append and sync; return the position after each entry.

        Raises:
            OSError: nothing of the group counts.
            LogFailed: the current segment is no longer at its path.
        """
        if not any(entry.kind for entry in group):
            return [self.durable] * len(group)
        if not self._stopping.is_set():  # when stopping, queued events are worth more than the reserve
            self._check_room(sum(entry.size for entry in group))
        if self._file is None or self._offset >= self._segment_bytes:
            await self._next_segment()
        assert self._file is not None and self._current is not None
        self._group += 1
        if sum(entry.size for entry in group) > 1 << 18:  # checksums of so much would delay the event loop
            data, ends = await asyncio.to_thread(self._frame, group)
        else:
            data, ends = self._frame(group)
        written = 0
        while written < len(data):
            written += await self._file.write(memoryview(data)[written:])
        await asyncio.to_thread(self._sync)
        self._offset += len(data)
        self.durable = segment_files.position(self._current, self._offset)
        return ends

    def _frame(self, group: list[LogEntry]) -> tuple[bytes, list[Position]]:
        assert self._current is not None
        pieces: list[Buffer] = []
        ends: list[Position] = []
        at = self._offset
        for entry in group:
            if entry.kind:
                seed = segment.seed(self._current.uuid, at - segment.HEADER_BYTES)
                pieces += segment_files.frame_parts(entry.kind, entry.body, seed, self._group)
                at += segment.aligned(entry.size)
            ends.append(segment_files.position(self._current, at))
        return b"".join(pieces), ends

    def _sync(self) -> None:
        os_support.sync_data(self._fd())
        self.check_in_place()

    def _fd(self) -> int:
        assert self._file is not None
        return int(self._file.fileno())

    async def _next_segment(self) -> None:
        await self._close()
        ordinal = self.segments[-1].ordinal + 1 if self.segments else 1
        created = SegmentFile.named(self.folder, ordinal, secrets.token_bytes(16))
        head = segment_files.head_bytes(created.uuid, self._sessions)
        await asyncio.to_thread(files.atomic_write, created.path, head, mode=0o600)
        self.segments.append(created)
        await self._continue(created, len(head))
        self._group = 0
        self.durable = segment_files.position(created, self._offset)

    async def _continue(self, current: SegmentFile, offset: int) -> None:
        self._file = await aiofiles.open(current.path, "r+b", buffering=0)
        await self._file.seek(offset)
        self._current, self._offset = current, offset

    async def _close(self) -> None:
        if self._file is not None:
            await self._file.close()
        self._file = self._current = None

    async def _wait_for_space(self, error: OSError) -> None:
        """Close the segment at its durable offset and wait before the next try."""
        self._retry_now.clear()  # before the first await: what is freed during the next one counts
        if self.disk_error is None:
            logger.error("log stopped acknowledging with %d bytes held: %s", self.held_bytes, error)
        self.disk_error = f"{errno.errorcode.get(error.errno or 0, '')}: {error.strerror}"
        if self._current is not None:
            try:
                os.truncate(self._current.path, self._offset)
            except OSError as refused:  # readers deduplicate what the next segment repeats
                logger.warning("log segment %s was not truncated: %s", self._current.path.name, refused)
        await self._close()
        if self._stopping.is_set():
            raise _StoppedWithoutSpace(f"no room on the disk while leaving: {error}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._retry_now.wait(), self._retry_s)

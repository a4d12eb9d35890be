"""The two files of a run folder that grow: the tail and the events lines. Whole appends or none."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from neural.tracking.collector.log.segment_files import frame_parts
from neural.tracking.core.files import fsync_dir, write_all
from neural.tracking.core.os_support import sync_data
from neural.tracking.errors import FormatError, RetryLater
from neural.tracking.formats import segment
from neural.tracking.formats.segment import Buffer


class AppendFile:
    """A file whose valid end is known, so that a torn append is cut before the next one."""

    def __init__(self, path: Path, size: int, *, flags: int = 0) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o644)
        self.size = size
        self.dirty = False
        if os.fstat(self._fd).st_size > size:
            # Beyond this nothing was ever told to be durable: it comes again from the log.
            os.ftruncate(self._fd, size)

    def append(self, pieces: Sequence[Buffer]) -> None:
        """Write all pieces behind each other.

        Raises:
            RetryLater: nothing of it stayed.
        """
        total = sum(map(len, pieces))
        try:
            written = os.pwritev(self._fd, pieces, self.size) if len(pieces) < 1000 else 0
            if written != total:
                write_all(self._fd, memoryview(b"".join(pieces))[written:], self.size + written)
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            raise RetryLater(f"cannot append to {self.path}: {error}") from error
        self.size += total
        self.dirty = True

    def sync(self) -> None:
        """Make what was appended durable.

        Raises:
            OSError: what was appended since the last sync may be lost although it can still be
                read; only a new start, which reads it from the log again, makes it sure.
        """
        if self.dirty:
            sync_data(self._fd)
            self.dirty = False

    def gone(self) -> bool:
        """Return whether somebody removed the file."""
        return os.fstat(self._fd).st_nlink == 0

    def read(self) -> bytes:
        """Return the valid content, from the disk's view of it."""
        data = os.pread(self._fd, self.size, 0)
        while len(data) < self.size and (more := os.pread(self._fd, self.size - len(data), len(data))):
            data += more
        return data

    def close(self) -> None:
        """Let go; nothing is synced."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_events(path: Path, size: int) -> AppendFile:
    """Return the events file cut to its durable size, made if it is not there."""
    created = not path.exists()
    file = AppendFile(path, size, flags=os.O_CREAT)
    if created:
        fsync_dir(path.parent)
    file.size = min(size, os.fstat(file._fd).st_size)
    return file


class TailFile(AppendFile):
    """A tail: records of the segment format under an identity of its own."""

    def __init__(self, path: Path, uuid: bytes, size: int) -> None:
        super().__init__(path, size)
        self.uuid = uuid
        self.began_s = time.monotonic()
        # What this file already says of each session, so that a batch never precedes its schemas.
        self.told: dict[bytes, set[int]] = {}

    @property
    def empty(self) -> bool:
        """Return whether it holds no record."""
        return self.size <= segment.HEADER_BYTES

    def frame(self, kind: int, body: Sequence[Buffer], ahead: int) -> list[Buffer]:
        """Return the pieces of a record that will stand ``ahead`` bytes beyond the present end."""
        offset = self.size + ahead - segment.HEADER_BYTES
        return frame_parts(kind, body, segment.seed(self.uuid, offset), 0)


def create_tail(path: Path) -> TailFile:
    """Put a new, empty tail in the place of whatever is there.

    Its header becomes durable with the first sync, before a ledger vouches for it; should it be lost
    before, everything that was durable is in the parts.

    Raises:
        RetryLater: the old one is untouched.
    """
    uuid = secrets.token_bytes(16)
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(segment.Header(segment.ROLE_TAIL, uuid, 0, time.time_ns()).pack())
        os.rename(temporary, path)
        fsync_dir(path.parent)
    except OSError as error:
        raise RetryLater(f"cannot make {path}: {error}") from error
    tail = TailFile(path, uuid, segment.HEADER_BYTES)
    tail.dirty = True
    return tail


def tail_identity(path: Path) -> bytes | None:
    """Return the identity in a tail's header, None where the file is absent or its header damaged."""
    try:
        with path.open("rb") as file:
            return segment.read_header(file.read(segment.HEADER_BYTES)).uuid
    except (FileNotFoundError, FormatError):
        return None

"""The two growing files of a run folder: the tail and the event lines. An append is whole or has no effect.

Everything here blocks on the disk.
"""

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
    """A file whose valid end is known, so that a torn append is cut before the next one. Blocks on the disk."""

    def __init__(self, path: Path, size: int, *, flags: int = 0) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o644)
        self.size = size
        self.dirty = False
        if os.fstat(self._fd).st_size > size:
            # Bytes after this were never reported durable: they come again from the log.
            os.ftruncate(self._fd, size)

    def append(self, pieces: Sequence[Buffer]) -> None:
        """Write all pieces, one after the other.

        Raises:
            RetryLater: nothing of them stayed.
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
            OSError: what was appended since the last sync may be lost, although it can still be read. Only a
                restart, which reads it from the log again, is safe.
        """
        if self.dirty:
            sync_data(self._fd)
            self.dirty = False

    def is_removed(self) -> bool:
        """Return whether the file was removed."""
        return os.fstat(self._fd).st_nlink == 0

    def read(self) -> bytes:
        """Return the valid content of the file."""
        data = os.pread(self._fd, self.size, 0)
        while len(data) < self.size and (more := os.pread(self._fd, self.size - len(data), len(data))):
            data += more
        return data

    def close(self) -> None:
        """Close the file; nothing is synced. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_events(path: Path, size: int) -> AppendFile:
    """Return the events file cut to its durable size, in bytes; create it if it is missing. Raises OSError."""
    created = not path.exists()
    file = AppendFile(path, size, flags=os.O_CREAT)
    if created:
        fsync_dir(path.parent)
    file.size = min(size, os.fstat(file._fd).st_size)
    return file


class TailFile(AppendFile):
    """A tail: records of the segment format, with a uuid of its own."""

    def __init__(self, path: Path, uuid: bytes, size: int) -> None:
        super().__init__(path, size)
        self.uuid = uuid
        self.began_s = time.monotonic()
        # By session: the schemas in this file, so that a batch never precedes its schemas.
        self.written_schemas: dict[bytes, set[int]] = {}

    @property
    def empty(self) -> bool:
        """Whether it holds no record."""
        return self.size <= segment.HEADER_BYTES

    def frame(self, kind: int, body: Sequence[Buffer], ahead: int) -> list[Buffer]:
        """Return the pieces of a record that will begin ``ahead`` bytes after the present end."""
        offset = self.size + ahead - segment.HEADER_BYTES
        return frame_parts(kind, body, segment.seed(self.uuid, offset), 0)


def create_tail(path: Path) -> TailFile:
    """Replace the tail, if there is one, with a new, empty tail.

    Its header becomes durable with the first sync, before a ledger refers to it. If it is lost before that,
    everything that was durable is in the parts.

    Raises:
        RetryLater: the old tail is unchanged.
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
    """Return the uuid in a tail's header; None if the file is missing or its header damaged."""
    try:
        with path.open("rb") as file:
            return segment.read_header(file.read(segment.HEADER_BYTES)).uuid
    except (FileNotFoundError, FormatError):
        return None

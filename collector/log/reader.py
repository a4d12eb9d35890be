"""Reads the log in order, from a position up to the durable position that the collector reports.

A position is (segment uuid, file offset). A position that is not in the log, or that lies beyond the log's end,
means the beginning of the log. So a worker must recognise repeated items by (session, number), not by position.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.items import EventBatch, LoggedSession, LogItem, SessionMark, SessionNote
from neural.tracking.collector.log.segment_files import SegmentFile
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Damage, Record

logger = logging.getLogger(__name__)

FIRST_CHUNK_BYTES, LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES = 512 << 10, 128 << 10, 4 << 20


class CursorPosition(NamedTuple):
    """A position in the form that is sent to workers: the segment's uuid in hex, an offset in bytes."""

    uuid: str
    offset: int


def parse_position(value: object) -> CursorPosition | None:
    """Return the position in a decoded JSON value; None if the value is not a position. Never blocks."""
    if isinstance(value, list | tuple) and len(value) == 2:
        uuid, offset = value
        if isinstance(uuid, str) and isinstance(offset, int) and offset >= 0:
            return CursorPosition(uuid, offset)
    return None


class LogReader:
    """Reads the log. Not thread-safe; the payloads of items are valid until the next :meth:`read`."""

    def __init__(self, folder: Path, start: CursorPosition | None, *, waited_for: bool = True) -> None:
        """Remember where to read; open nothing.

        Args:
            folder: the folder of the log.
            start: where to begin; None for the beginning of the log.
            waited_for: whether the log keeps its segments for this reader. Then a missing segment is an error.
                For another reader it is normal.
        """
        self._folder = folder
        self._missing_level = logging.ERROR if waited_for else logging.INFO
        self._start = start
        self._current: SegmentFile | None = None
        self._fd = -1
        self._offset = segment.HEADER_BYTES
        self._sessions: dict[bytes, LoggedSession] = {}
        self._ended: set[bytes] = set()  # forgotten at the next segment, whose head omits them
        self.chunk_bytes = FIRST_CHUNK_BYTES  # about how many bytes one read takes
        self.damaged_bytes = 0
        self.skipped = False  # the log did not continue at the position; the caller resets it
        # by session: first and last number of events whose session is unknown
        self.strays: dict[str, tuple[int, int]] = {}

    @property
    def position(self) -> CursorPosition | None:
        """The position after everything that was returned; None before the first segment. Never blocks."""
        if self._current is None:
            return self._start
        return CursorPosition(self._current.uuid.hex(), self._offset)

    def read(self, durable: CursorPosition) -> list[LogItem]:
        """Return the next items before ``durable``, a few at a time; an empty list if there are none.

        Blocks while the disk reads one chunk, about ``chunk_bytes``.

        Raises:
            OSError: the disk could not be read.
        """
        while True:
            limit = self._limit(durable)
            if limit is None:
                return []
            if self._offset < limit:
                if items := self._read_chunk(limit):
                    return items
                continue  # the chunk held only sessions and schemas
            if self._current is None or self._current.uuid.hex() == durable.uuid or not self._next():
                return []

    def close(self) -> None:
        """Close the open segment. Safe to call twice. Never blocks."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _limit(self, durable: CursorPosition) -> int | None:
        """Return up to which offset the current segment may be read; if no segment is open, open one first."""
        if self._current is None and not self._begin(durable):
            return None
        assert self._current is not None
        if self._current.uuid.hex() == durable.uuid:
            # the log was replaced by an older copy
            if self._offset > max(durable.offset, segment.HEADER_BYTES):
                logger.error("position %d was beyond the log's end at %d", self._offset, durable.offset)
                self._restart()
                return self._limit(durable)
            return durable.offset
        ordinals = {item.uuid.hex(): item.ordinal for item in self._listing()}
        if durable.uuid not in ordinals:
            return None
        if ordinals[durable.uuid] < self._current.ordinal or self._current.uuid.hex() not in ordinals:
            logger.log(self._missing_level, "segment %s was not before the log's end", self._current.path.name)
            self._restart()
            return self._limit(durable)
        return os.fstat(self._fd).st_size

    def _restart(self) -> None:
        self.close()
        self.skipped = True
        self._current, self._start = None, None
        self._sessions.clear()
        self._ended.clear()

    def _begin(self, durable: CursorPosition) -> bool:
        """Open the segment of the starting position, or else the first segment; return whether one is open."""
        listing = self._listing()
        by_uuid = {item.uuid.hex(): item for item in listing}
        if durable.uuid not in by_uuid:
            return False
        start = self._start
        if start is not None and start.uuid in by_uuid:
            item = by_uuid[start.uuid]
            is_durable = item.ordinal < by_uuid[durable.uuid].ordinal or (
                start.uuid == durable.uuid and start.offset <= durable.offset
            )
            if is_durable and self._open(item) and start.offset <= os.fstat(self._fd).st_size:
                self._skip_to(start.offset)
                return True
        if start is not None:
            logger.log(
                self._missing_level,
                "position %s was not in the log; reading it from its beginning",
                list(start),
            )
            self.skipped = True
        return any(self._open(item) for item in listing)

    def _next(self) -> bool:
        """Open the segment after the current one; return whether there is one."""
        assert self._current is not None
        after = [item for item in self._listing() if item.ordinal > self._current.ordinal]
        if not after:
            return False
        self.skipped = self.skipped or after[0].ordinal != self._current.ordinal + 1
        return self._open(after[0])

    def _open(self, item: SegmentFile) -> bool:
        try:
            fd = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.close()
        self._fd, self._current, self._offset = fd, item, segment.HEADER_BYTES
        for session in self._ended:
            self._sessions.pop(session, None)
        self._ended.clear()
        return True

    def _listing(self) -> list[SegmentFile]:
        try:
            return segment_files.list_segments(self._folder)
        except FileNotFoundError:
            return []

    def _skip_to(self, offset: int) -> None:
        """Read sessions and schemas up to ``offset`` without returning items."""
        while self._offset < offset:
            before = self._offset
            self._read_chunk(offset)
            if self._offset == before:
                self._offset = offset

    def _read_chunk(self, limit: int) -> list[LogItem]:
        """Return the items in the next chunk of the current segment, and move behind it."""
        stop, records, damages = self._scan(self.chunk_bytes, limit)
        if self._offset + stop < limit and damages and damages[-1].end == stop:
            stop = damages.pop().start  # most likely a record that continues after this chunk
            if stop == 0:
                stop, records, damages = self._scan(self.chunk_bytes + segment.MAX_RECORD_BYTES, limit)
                # A record that begins here fits into this view: it is one long record, or damage.
                if records and records[0].pos == 0:
                    stop, damages = records[0].end, []
                elif damages:
                    stop = min(damages[0].end, self.chunk_bytes)
                    damages = [Damage(0, stop)]
        for damage in damages:
            self.damaged_bytes += damage.end - damage.start
            logger.error("log bytes from %d to %d were damaged", *(self._offset + at for at in damage))
        self._offset = min(self._offset + stop, limit) if stop else limit
        return [item for record in records if record.pos < stop for item in self._items_of(record)]

    def _scan(self, size: int, limit: int) -> tuple[int, list[Record], list[Damage]]:
        """Return the size of the next bytes, and the records and damages in them."""
        assert self._current is not None
        view = memoryview(os.pread(self._fd, min(limit - self._offset, size), self._offset))
        records: list[Record] = []
        damages: list[Damage] = []
        base = self._offset - segment.HEADER_BYTES
        for item in segment.scan(view, self._current.uuid, base=base):
            records.append(item) if isinstance(item, Record) else damages.append(item)
        return len(view), records, damages

    def _items_of(self, record: Record) -> list[LogItem]:
        try:
            return self._decode(record)
        except FormatError as error:
            logger.error("log record at %d was not understood: %s", record.pos, error)
            return []

    def _decode(self, record: Record) -> list[LogItem]:
        if record.kind == segment.SESSION:
            session_id, uid, info = events.unpack_session(record.body)
            session = self._sessions.get(session_id)
            if session is None:
                self._sessions[session_id] = LoggedSession(session_id, uid, info)
            else:
                session.info = info
            return []
        session = self._sessions.get(bytes(record.body[:16]))
        if session is None:
            self._note_stray(record)
            return []
        if record.kind == segment.SCHEMAS:
            for item in segment.scan(record.body[16:], session.session, base=0):
                if isinstance(item, Record) and item.kind == segment.SCHEMA:
                    session.schemas[item.id] = events.unpack_names(item.body)
                    session.schema_records[item.id] = bytes(record.body[16 + item.pos : 16 + item.end])
            return []
        if record.kind == segment.BATCH:
            batch = events.unpack_batch(record.body)
            return [EventBatch(session, batch.first, batch.last, batch.base, batch.payload)]
        if record.kind == segment.MARK:
            _, last, ended = events.unpack_mark(record.body)
            if ended is not None:
                self._ended.add(session.session)
            return [SessionMark(session, last, ended)]
        if record.kind == segment.NOTE:
            note = events.unpack_note(record.body)[1]
            if note["kind"] == "bye":
                self._ended.add(session.session)
            return [SessionNote(session, note)]
        return []

    def _note_stray(self, record: Record) -> None:
        """Remember the numbers of events whose session is unknown, so that the loss is reported."""
        if record.kind == segment.BATCH:
            batch = events.unpack_batch(record.body)
            first, last = self.strays.get(batch.session.hex(), (batch.first, batch.last))
            self.strays[batch.session.hex()] = (min(first, batch.first), max(last, batch.last))
            logger.error("events %d to %d belong to no known session", batch.first, batch.last)


def read_cursor(path: Path) -> CursorPosition | None:
    """Return the position in a cursor file; None if there is none or it is not valid. Blocks briefly."""
    try:
        return parse_position(json.loads(path.read_bytes())["position"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

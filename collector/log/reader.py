"""Reads the log from a position on, in order, up to what the collector says is durable.

A position is (segment uuid, file offset). A position that is not in the log, or lies beyond its end,
means the log's beginning: whoever applies the items relies on (session, number), not on positions.
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
    """A place in the log as it travels: the segment's uuid in hex, an offset in its file."""

    uuid: str
    offset: int


def parse_position(value: object) -> CursorPosition | None:
    """Return the position in a decoded JSON value, None if it is none."""
    if isinstance(value, list | tuple) and len(value) == 2:
        uuid, offset = value
        if isinstance(uuid, str) and isinstance(offset, int) and offset >= 0:
            return CursorPosition(uuid, offset)
    return None


class LogReader:
    """The reading end of the log. Not thread-safe; the items' payloads live until the next :meth:`read`."""

    def __init__(self, folder: Path, start: CursorPosition | None, *, waited_for: bool = True) -> None:
        """Read a log's ``folder`` from ``start``.

        Args:
            folder: of the log.
            start: where to begin; None for its beginning.
            waited_for: whether the log keeps its segments for this reader. To find one gone is an error then;
                of another reader it is the usual thing.
        """
        self._folder = folder
        self._gone = logging.ERROR if waited_for else logging.INFO
        self._start = start
        self._current: SegmentFile | None = None
        self._fd = -1
        self._offset = segment.HEADER_BYTES
        self._sessions: dict[bytes, LoggedSession] = {}
        self._ended: set[bytes] = set()  # forgotten with the next segment, whose head leaves them out
        self.chunk_bytes = FIRST_CHUNK_BYTES  # about how much is read at once
        self.damaged_bytes = 0
        self.skipped = False  # the log did not go on where the position was; whoever asks sets it back
        self.strays: dict[str, tuple[int, int]] = {}  # numbers of sessions whose description is damaged

    @property
    def position(self) -> CursorPosition | None:
        """Everything before it was handed out."""
        if self._current is None:
            return self._start
        return CursorPosition(self._current.uuid.hex(), self._offset)

    def read(self, durable: CursorPosition) -> list[LogItem]:
        """Return the next items before ``durable``, a few at a time; empty when there is nothing."""
        while True:
            limit = self._limit(durable)
            if limit is None:
                return []
            if self._offset < limit:
                if items := self._read_chunk(limit):
                    return items
                continue  # it told of sessions and schemas alone, before a record longer than itself
            if self._current is None or self._current.uuid.hex() == durable.uuid or not self._next():
                return []

    def close(self) -> None:
        """Let go of the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _limit(self, durable: CursorPosition) -> int | None:
        """Return up to where the current segment may be read; open one first if there is none."""
        if self._current is None and not self._begin(durable):
            return None
        assert self._current is not None
        if self._current.uuid.hex() == durable.uuid:
            if self._offset > max(durable.offset, segment.HEADER_BYTES):  # the log is an older copy of itself
                logger.error("position %d was beyond the log's end at %d", self._offset, durable.offset)
                self._restart()
                return self._limit(durable)
            return durable.offset
        known = self._listing()
        ordinals = {item.uuid.hex(): item.ordinal for item in known}
        if durable.uuid not in ordinals:
            return None
        if ordinals[durable.uuid] < self._current.ordinal or self._current.uuid.hex() not in ordinals:
            logger.log(self._gone, "segment %s was not before the log's end", self._current.path.name)
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
        """Open the segment of the starting position, or the first one; return whether there is any."""
        listing = self._listing()
        ordinals = {item.uuid.hex(): item for item in listing}
        if durable.uuid not in ordinals:
            return False
        start = self._start
        if start is not None and start.uuid in ordinals:
            found = ordinals[start.uuid]
            behind = found.ordinal < ordinals[durable.uuid].ordinal or (
                start.uuid == durable.uuid and start.offset <= durable.offset
            )
            if behind and self._open(found) and start.offset <= os.fstat(self._fd).st_size:
                self._skip_to(start.offset)
                return True
        if start is not None:
            logger.log(self._gone, "position %s was not in the log; reading it from its beginning", list(start))
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
        """Learn sessions and schemas up to ``offset`` without handing anything out."""
        while self._offset < offset:
            before = self._offset
            self._read_chunk(offset)
            if self._offset == before:
                self._offset = offset

    def _read_chunk(self, limit: int) -> list[LogItem]:
        """Return what the next chunk of the current segment holds, and step over it."""
        stop, records, damages = self._scan(self.chunk_bytes, limit)
        if self._offset + stop < limit and damages and damages[-1].end == stop:
            stop = damages.pop().start  # most likely a record that goes on beyond this chunk
            if stop == 0:
                stop, records, damages = self._scan(self.chunk_bytes + segment.MAX_RECORD_BYTES, limit)
                # Whatever begins here fits into this view: it is one long record, or damage.
                if records and records[0].pos == 0:
                    stop, damages = records[0].end, []
                elif damages:
                    stop = min(damages[0].end, self.chunk_bytes)
                    damages = [Damage(0, stop)]
        for damage in damages:
            self.damaged_bytes += damage.end - damage.start
            logger.error("log bytes from %d to %d were damaged", *(self._offset + at for at in damage))
        self._offset = min(self._offset + stop, limit) if stop else limit
        return [item for record in records if record.pos < stop for item in self._item(record)]

    def _scan(self, size: int, limit: int) -> tuple[int, list[Record], list[Damage]]:
        """Return size, records and damage of the bytes that come next."""
        assert self._current is not None
        view = memoryview(os.pread(self._fd, min(limit - self._offset, size), self._offset))
        records: list[Record] = []
        damages: list[Damage] = []
        base = self._offset - segment.HEADER_BYTES
        for found in segment.scan(view, self._current.uuid, base=base):
            records.append(found) if isinstance(found, Record) else damages.append(found)
        return len(view), records, damages

    def _item(self, record: Record) -> list[LogItem]:
        try:
            return self._understood(record)
        except FormatError as error:
            logger.error("log record at %d was not understood: %s", record.pos, error)
            return []

    def _understood(self, record: Record) -> list[LogItem]:
        if record.kind == segment.SESSION:
            made, uid, info = events.unpack_session(record.body)
            known = self._sessions.get(made)
            if known is None:
                self._sessions[made] = LoggedSession(made, uid, info)
            else:
                known.info = info
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
        """Remember events that nobody can tell the run of, so that they are not lost without a word."""
        if record.kind == segment.BATCH:
            batch = events.unpack_batch(record.body)
            first, last = self.strays.get(batch.session.hex(), (batch.first, batch.last))
            self.strays[batch.session.hex()] = (min(first, batch.first), max(last, batch.last))
            logger.error("events %d to %d belong to no session that is known", batch.first, batch.last)


def read_cursor(path: Path) -> CursorPosition | None:
    """Return the position in a cursor file, None where there is none that can be used."""
    try:
        return parse_position(json.loads(path.read_bytes())["position"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Recovers the log at a start: sessions with their high-water marks, and the position where writing continues.

Everything here blocks on the disk. Only the newest segment has to be read: its head repeats every session that
still matters. If its head is damaged, all segments are read.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.segment_files import SegmentContent, SegmentFile
from neural.tracking.collector.log.sessions import Position, Sessions, SessionState
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Record

logger = logging.getLogger(__name__)


class LostStretch(NamedTuple):
    """Numbers whose bytes in the log are damaged. Their sender has freed them already."""

    session: SessionState
    first: int
    last: int


@dataclass
class Recovered:
    """What was found in the log's folder."""

    segments: list[SegmentFile] = field(default_factory=list)
    current: SegmentFile | None = None  # not sealed: writing continues at ``end``
    end: int = 0
    group: int = 0  # the number of the last commit group in ``current``
    durable: Position | None = None
    lost: list[LostStretch] = field(default_factory=list)
    damaged_bytes: int = 0


def recover(folder: Path, sessions: Sessions, *, host_went_down: bool = False) -> Recovered:
    """Read the log in ``folder``, fill ``sessions``, and prepare the newest segment for further appends.

    Blocks while the disk reads the newest segment, or all segments.

    Args:
        folder: the folder of the log.
        sessions: is filled.
        host_went_down: whether the host stopped since the log was last written. Then only synced bytes count.

    Raises:
        OSError: the disk failed; nothing may be acknowledged.
    """
    for temporary in folder.glob("*tmp*"):
        temporary.unlink(missing_ok=True)
    recovered = Recovered(segments=segment_files.list_segments(folder))
    if not recovered.segments:
        return recovered
    newest = recovered.segments[-1]
    with segment_files.mapped_view(newest.path) as view:
        content = _read(newest, view, host_went_down)
        if not _head_is_whole(content):
            for older in recovered.segments[:-1]:
                with segment_files.mapped_view(older.path) as older_view:
                    _apply_all(_read(older, older_view), older, sessions, recovered)
        if content is None:  # the file is kept as it is; writing continues in a new segment
            recovered.durable = segment_files.position(newest, len(view))
            return recovered
        if not content.sealed:
            segment_files.copy_valid(newest, view, content)
            recovered.current, recovered.end = newest, content.end
            recovered.group = content.records[-1].id if content.records else 0
        recovered.durable = segment_files.position(newest, content.end)
        _apply_all(content, newest, sessions, recovered)
        _note_claims(view, content, sessions)
    return recovered


def _note_claims(view: memoryview, content: SegmentContent, sessions: Sessions) -> None:
    """Set ``claimed`` of each session whose last batch in the log seems to be damaged.

    A sender that still has the numbers sends them again, or reports the gap. If no sender is left, the adopter
    records the loss as a gap from ``claimed``.
    """
    for damage in content.damages:
        batch = segment_files.claimed_batch(view, damage)
        session = None if batch is None else sessions.get(batch.session)
        if batch is None or session is None or not batch.first == session.durable + 1 <= batch.last:
            continue
        if batch.last - batch.first <= len(batch.payload) // segment.FRAME_BYTES:
            session.claimed = batch.last


def _read(file: SegmentFile, view: memoryview, host_went_down: bool = False) -> SegmentContent | None:
    """Return what the segment holds; None if its header cannot be read."""
    try:
        return segment_files.read(view, file.uuid, host_went_down=host_went_down)
    except FormatError as error:
        logger.error("log segment %s was unreadable and is left as it is: %s", file.path.name, error)
        return None


def _head_is_whole(content: SegmentContent | None) -> bool:
    if content is None:
        return False
    head_end = next((record.pos for record in content.records if record.id), content.end)
    return not any(damage.start < head_end for damage in content.damages)


def _apply_all(
    content: SegmentContent | None, file: SegmentFile, sessions: Sessions, recovered: Recovered
) -> None:
    if content is None:
        return
    recovered.damaged_bytes += sum(damage.end - damage.start for damage in content.damages)
    for record in content.records:
        try:
            _apply(record, segment_files.position(file, record.end), sessions, recovered)
        except FormatError as error:
            logger.error("log record at %d of %s was not understood: %s", record.pos, file.path.name, error)
    for session in sessions:
        session.received = session.durable


def _apply(record: Record, at: Position, sessions: Sessions, recovered: Recovered) -> None:
    """Update the session that a record belongs to."""
    if record.kind == segment.SESSION:
        session_id, uid, info = events.unpack_session(record.body)
        if sessions.get(session_id) is None:
            sessions.add(SessionState(session_id, uid, info))
        return
    session = sessions.get(bytes(record.body[:16]))
    if session is None:
        return
    if record.kind == segment.BATCH:
        batch = events.unpack_batch(record.body)
        if batch.first > session.durable + 1:
            recovered.lost.append(LostStretch(session, session.durable + 1, batch.first - 1))
        session.mark_durable(batch.last, at)
    elif record.kind == segment.SCHEMAS:
        for item in segment.scan(record.body[16:], session.id, base=0):
            if isinstance(item, Record) and item.kind == segment.SCHEMA:
                add_schema(session, item.id, bytes(record.body[16 + item.pos : 16 + item.end]))
    elif record.kind == segment.MARK:
        _, last, session.ended = events.unpack_mark(record.body)
        session.mark_durable(last, at)
    elif record.kind == segment.NOTE:
        _apply_note(events.unpack_note(record.body)[1], session, at)


def _apply_note(note: dict[str, object], session: SessionState, at: Position) -> None:
    kind, last, n = note["kind"], note.get("last"), note.get("n")
    if kind == "gap" and isinstance(last, int):
        session.mark_durable(last, at)
    elif kind == "bye" and isinstance(n, int):
        session.ended = n
        session.mark_durable(session.durable, at)


def add_schema(session: SessionState, schema_id: int, record: bytes) -> bool:
    """Remember a schema for the heads of the next segments; return whether it was new. Never blocks."""
    if schema_id in session.schemas:
        return False
    session.schemas[schema_id] = record
    session.schema_bytes += len(record)
    session.seen_s = time.monotonic()
    return True

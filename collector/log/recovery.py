"""What a start makes of the log it finds: sessions with their marks, and where writing goes on. Blocks.

Only the newest segment has to be read: its head repeats every session that still matters. If its
head is damaged, all segments are read.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.segment_files import Found, SegmentFile
from neural.tracking.collector.log.sessions import Position, Sessions, SessionState
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Record

logger = logging.getLogger(__name__)


class LostStretch(NamedTuple):
    """Numbers whose bytes in the log are damaged; their sender has let go of them."""

    session: SessionState
    first: int
    last: int


@dataclass
class Recovered:
    """The log as it was found."""

    segments: list[SegmentFile] = field(default_factory=list)
    current: SegmentFile | None = None  # not sealed: writing goes on at ``end``
    end: int = 0
    group: int = 0  # the last commit group in ``current``
    durable: Position | None = None
    lost: list[LostStretch] = field(default_factory=list)
    damaged_bytes: int = 0


def recover(folder: Path, sessions: Sessions, *, host_went_down: bool = False) -> Recovered:
    """Read the log in ``folder``, fill ``sessions``, and make the newest segment safe to go on with.

    Args:
        folder: of the log.
        sessions: to fill.
        host_went_down: since the log was last written, so that synced is all that counts.

    Raises:
        OSError: the disk refused; nothing may be acknowledged.
    """
    for left in folder.glob("*tmp*"):
        left.unlink(missing_ok=True)
    recovered = Recovered(segments=segment_files.list_segments(folder))
    if not recovered.segments:
        return recovered
    newest = recovered.segments[-1]
    with segment_files.opened(newest.path) as view:
        found = _read(newest, view, host_went_down)
        if not _head_is_whole(found):
            for older in recovered.segments[:-1]:
                with segment_files.opened(older.path) as older_view:
                    _apply_all(_read(older, older_view), older, sessions, recovered)
        if found is None:  # left as it is, whatever it holds; writing goes on in a new segment
            recovered.durable = segment_files.position(newest, len(view))
            return recovered
        if not found.sealed:
            segment_files.copy_valid(newest, view, found)
            recovered.current, recovered.end = newest, found.end
            recovered.group = found.records[-1].id if found.records else 0
        recovered.durable = segment_files.position(newest, found.end)
        _apply_all(found, newest, sessions, recovered)
        _note_claims(view, found, sessions)
    return recovered


def _note_claims(view: memoryview, found: Found, sessions: Sessions) -> None:
    """Remember numbers that a damaged batch at the end of a session's stream seems to have held.

    A sender that still has them sends them again, or tells the gap. Only if nobody is there to tell,
    this is how the loss becomes a gap and not a silence.
    """
    for damage in found.damages:
        batch = segment_files.claimed_batch(view, damage)
        session = None if batch is None else sessions.get(batch.session)
        if batch is None or session is None or not batch.first == session.durable + 1 <= batch.last:
            continue
        if batch.last - batch.first <= len(batch.payload) // segment.FRAME_BYTES:
            session.claimed = batch.last


def _read(file: SegmentFile, view: memoryview, host_went_down: bool = False) -> Found | None:
    """Return what the segment holds, None if not even its header can be read."""
    try:
        return segment_files.read(view, file.uuid, host_went_down=host_went_down)
    except FormatError as error:
        logger.error("log segment %s was unreadable and is left as it is: %s", file.path.name, error)
        return None


def _head_is_whole(found: Found | None) -> bool:
    if found is None:
        return False
    head_end = next((record.pos for record in found.records if record.id), found.end)
    return not any(damage.start < head_end for damage in found.damages)


def _apply_all(found: Found | None, file: SegmentFile, sessions: Sessions, recovered: Recovered) -> None:
    if found is None:
        return
    recovered.damaged_bytes += sum(damage.end - damage.start for damage in found.damages)
    for record in found.records:
        try:
            _apply(record, segment_files.position(file, record.end), sessions, recovered)
        except FormatError as error:
            logger.error("log record at %d of %s was not understood: %s", record.pos, file.path.name, error)
    for session in sessions:
        session.received = session.durable


def _apply(record: Record, at: Position, sessions: Sessions, recovered: Recovered) -> None:
    """Let one record of the log change what is known of its session."""
    if record.kind == segment.SESSION:
        made, uid, info = events.unpack_session(record.body)
        if sessions.get(made) is None:
            sessions.add(SessionState(made, uid, info))
        return
    session = sessions.get(bytes(record.body[:16]))
    if session is None:
        return
    if record.kind == segment.BATCH:
        batch = events.unpack_batch(record.body)
        if batch.first > session.durable + 1:
            recovered.lost.append(LostStretch(session, session.durable + 1, batch.first - 1))
        session.stored(batch.last, at)
    elif record.kind == segment.SCHEMAS:
        for item in segment.scan(record.body[16:], session.id, base=0):
            if isinstance(item, Record) and item.kind == segment.SCHEMA:
                add_schema(session, item.id, bytes(record.body[16 + item.pos : 16 + item.end]))
    elif record.kind == segment.MARK:
        _, last, session.ended = events.unpack_mark(record.body)
        session.stored(last, at)
    elif record.kind == segment.NOTE:
        _apply_note(events.unpack_note(record.body)[1], session, at)


def _apply_note(note: dict[str, object], session: SessionState, at: Position) -> None:
    kind, last, n = note["kind"], note.get("last"), note.get("n")
    if kind == "gap" and isinstance(last, int):
        session.stored(last, at)
    elif kind == "bye" and isinstance(n, int):
        session.ended = n
        session.stored(session.durable, at)


def add_schema(session: SessionState, schema_id: int, record: bytes) -> bool:
    """Remember a schema for the heads of segments to come; return whether it was new."""
    if schema_id in session.schemas:
        return False
    session.schemas[schema_id] = record
    session.schema_bytes += len(record)
    session.seen_s = time.monotonic()
    return True

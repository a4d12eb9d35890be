"""Decides what of a session's stream is stored: the rules that make a repeated batch count once.

The inbox passes what senders send, the adopter what orphaned outboxes hold. Both use these methods, so both
obey the same high-water marks. Runs on the event loop. Only the coroutines wait for the disk; nothing else
blocks.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neural.tracking.collector.ingest import stored_runs
from neural.tracking.collector.ingest.removals import Removals, admitted_info
from neural.tracking.collector.log.recovery import LostStretch, add_schema
from neural.tracking.collector.log.segment_files import SESSION_COPIES
from neural.tracking.collector.log.sessions import MAX_OPEN_SESSIONS, Position, Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.errors import FormatError
from neural.tracking.formats import event_stream, events, segment
from neural.tracking.formats.segment import Buffer, Record
from neural.tracking.state.tombstones import RUN_DELETED

logger = logging.getLogger(__name__)

MAX_SCHEMAS_BYTES = events.MAX_SCHEMA_BYTES + (1 << 20)  # the emitter's limit and its padding


class Verdict(enum.Enum):
    """What was done with a message of a session, and so what its sender must be answered."""

    STORED = "queued; acknowledged once it is on disk"
    REPEATED = "stored already; acknowledge up to the durable mark"
    OUT_OF_ORDER = "not stored: does not continue at the session's mark"
    INVALID = "not stored: does not follow the format"


class Refused(Exception):
    """The session is refused; ``code`` is a code of the wire protocol."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class Sequencer:
    """Stores sessions and their streams in the log."""

    def __init__(self, base_dir: Path, log: LogWriter, sessions: Sessions, removals: Removals) -> None:
        self.events_total = 0
        self.repeated_total = 0
        self._base_dir = base_dir
        self._log = log
        self._sessions = sessions
        self.removals = removals
        self.on_durable: Callable[[SessionState], None] = lambda session: None

    async def open(self, session_id: bytes, uid: bytes, info: dict[str, Any]) -> SessionState:
        """Return the session. Its marks are the highest that the log and the run's ledger hold.

        Waits for the disk.

        Raises:
            Refused: its run was removed after it was opened, it belongs to another run, or too many sessions
                are open.
            OSError: it cannot be found out whether its run was removed.
        """
        current = False
        while not current:
            tombstone, number = await self.removals.look_up(uid)
            stored = await asyncio.to_thread(
                stored_runs.stored_session, self._base_dir, str(info.get("dir", "")), session_id
            )
            current = self.removals.is_current(number)
        session = self._sessions.get(session_id)
        if tombstone is not None:
            admitted = admitted_info(tombstone, session_id, info, session)
            if admitted is None:
                if session is not None:
                    session.deleted = True
                raise Refused(RUN_DELETED, f"run {tombstone.folder or info.get('dir', '?')} was removed")
            info = admitted
        if session is not None and session.uid != uid:
            raise Refused("bad_uid", f"session {session_id.hex()} belongs to run {session.uid.hex()[:8]}")
        if session is None:
            if len(self._sessions) >= MAX_OPEN_SESSIONS:
                raise Refused("too_many_sessions", f"{MAX_OPEN_SESSIONS} sessions are open")
            session = SessionState(session_id, uid, info)
            self._sessions.add(session)
            for _ in range(SESSION_COPIES):
                self._log.append(segment.SESSION, [events.pack_session(session_id, uid, info)])
        session.seen_s = time.monotonic()
        if stored.last > session.received:
            self._skip_to(session, stored.last)
        return session

    def data(
        self, session: SessionState, first: int, last: int, base: int, schemas: bytes, payload: Buffer
    ) -> Verdict:
        """Queue a batch whose checksum was verified, if it continues at the session's mark.

        Args:
            first, last: the numbers of its first and last event.
            base: the position of the payload in the session's stream, in bytes.
            schemas: the SCHEMA records that it uses.
            payload: its records.
        """
        if session.deleted or not self._is_valid(first, last, base, payload):
            return Verdict.INVALID
        if session.is_remote and not _holds(first, last, payload):
            return Verdict.INVALID
        if last <= session.received:
            self.repeated_total += 1
            return Verdict.REPEATED
        if session.ended is not None:
            return Verdict.INVALID
        if first != session.received + 1:
            return Verdict.OUT_OF_ORDER
        try:
            fresh = self._fresh_schemas(session, schemas)
        except FormatError as error:
            logger.warning("schemas of session %s were refused: %s", session.id.hex(), error)
            return Verdict.INVALID
        if fresh:
            self._log.append(segment.SCHEMAS, [session.id, *fresh])
        head = events.pack_batch(session.id, first, last, base, b"")
        self._store(session, segment.BATCH, [head, payload], last)
        self.events_total += last - first + 1
        return Verdict.STORED

    def gap(self, session: SessionState, first: int, last: int, reason: str, **more: Any) -> Verdict:
        """Record that numbers will not arrive, as far as they continue at the session's mark."""
        if not 1 <= first <= last:
            return Verdict.INVALID
        if last <= session.received:
            return Verdict.REPEATED
        if first > session.received + 1:
            return Verdict.OUT_OF_ORDER
        first = session.received + 1
        key = f"{first}-{last}"
        note = events.pack_note(
            session.id, "gap", key, time.time_ns(), first=first, last=last, reason=reason, **more
        )
        self._store(session, segment.NOTE, [note], last)
        return Verdict.STORED

    def bye(self, session: SessionState, n: int, done: Callable[[], None]) -> Verdict:
        """Close a session of which all ``n`` numbers are stored; ``done`` runs once that is durable."""
        if session.ended is not None:
            self._log.after_sync(lambda _: done())
            return Verdict.REPEATED
        if n > session.received:
            return Verdict.OUT_OF_ORDER

        def ended(position: Position) -> None:
            session.ended = n
            session.mark_durable(session.durable, position)
            done()

        self._log.append(segment.NOTE, [events.pack_note(session.id, "bye", "bye", time.time_ns(), n=n)], ended)
        return Verdict.STORED

    def note(self, session: SessionState, kind: str, key: str, **data: Any) -> None:
        """Record a fact that no session emits, as its death. The store keeps one for each kind and key."""
        self._log.append(segment.NOTE, [events.pack_note(session.id, kind, key, time.time_ns(), **data)])

    async def late_note(
        self, session_id: bytes, uid: bytes, info: Mapping[str, Any], kind: str, key: str, **data: Any
    ) -> Position:
        """Record the outcome of something that a session emitted, even if the session was forgotten.

        Returns:
            The position of the note in the log, once it is durable.
        """
        session = self._sessions.get(session_id)
        if session is None:
            stored = await asyncio.to_thread(
                stored_runs.stored_session, self._base_dir, str(info.get("dir", "")), session_id
            )
            session = self._sessions.get(session_id)
        if session is None:  # described again as an ended session, or the note's session would be unknown
            session = SessionState(session_id, uid, dict(info), received=stored.last, durable=stored.last)
            session.ended = stored.last if stored.ended is None else stored.ended
            self._sessions.add(session)
            for _ in range(SESSION_COPIES):
                self._log.append(segment.SESSION, [events.pack_session(session_id, uid, session.info)])
            self._log.append(segment.MARK, [events.pack_mark(session_id, stored.last, session.ended)])
        durable: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        note = events.pack_note(session_id, kind, key, time.time_ns(), **data)
        session.notes_pending += 1
        self._log.append(segment.NOTE, [note], durable.set_result)
        try:
            position = await asyncio.shield(durable)  # if this is cancelled, the log still has the note
            session.end = max(session.end, position)
        finally:
            session.notes_pending -= 1
        return position

    @property
    def durable(self) -> Position:
        """The position up to which the log is durable."""
        return self._log.durable

    def note_death(self, session: SessionState, reason: str, signal: int | None, open_gap: str | None) -> None:
        """Record how a session's process ended, if it emitted no end."""
        more = {"signal": signal, "open_gap": open_gap}
        given = {key: value for key, value in more.items() if value is not None}
        self.note(session, "died", "died", reason=reason, **given)
        logger.info("session %s ended without an end event: %s", session.id.hex(), reason)

    def record_lost(self, lost: list[LostStretch]) -> None:
        """Record as gaps what the recovery found damaged in the log."""
        for session, first, last in lost:
            self.note(session, "gap", f"{first}-{last}", first=first, last=last, reason="damage")

    def forget_run(self, uid: bytes) -> list[SessionState]:
        """Store nothing more of a run that was just removed; return its sessions."""
        gone = [session for session in self._sessions if session.uid == uid]
        for session in gone:
            session.deleted = True
        return gone

    def _skip_to(self, session: SessionState, last: int) -> None:
        """Move the marks to what the run's ledger holds beyond the log: this log never had these events."""
        session.received = last
        mark = events.pack_mark(session.id, last, None)
        self._log.append(segment.MARK, [mark], lambda position: session.mark_durable(last, position))

    def _store(self, session: SessionState, kind: int, body: list[Buffer], last: int) -> None:
        session.received = last
        session.seen_s = time.monotonic()

        def stored(position: Position) -> None:
            session.mark_durable(last, position)
            self.on_durable(session)

        self._log.append(kind, body, stored)

    def _is_valid(self, first: int, last: int, base: int, payload: Buffer) -> bool:
        size = len(payload)
        if not 1 <= first <= last or not size or size % segment.ALIGNMENT or base % segment.ALIGNMENT:
            return False
        return base // segment.LAP_BYTES == (base + size - 1) // segment.LAP_BYTES

    def _fresh_schemas(self, session: SessionState, schemas: bytes) -> list[bytes]:
        """Return the SCHEMA records that the log's current segment does not have yet."""
        records: list[tuple[int, bytes]] = []
        for item in segment.scan(schemas, session.id, base=0):
            if not isinstance(item, Record) or item.kind != segment.SCHEMA:
                raise FormatError("a record is not a schema of this session")
            records.append((item.id, schemas[item.pos : item.end]))
        new = [(schema_id, record) for schema_id, record in records if schema_id not in session.schemas]
        size = session.schema_bytes + sum(len(record) for _, record in new)
        if len(session.schemas) + len(new) > events.MAX_SCHEMAS or size > MAX_SCHEMAS_BYTES:
            raise FormatError(f"{size} bytes of schemas, over the limit of a session")
        return [record for schema_id, record in new if add_schema(session, schema_id, record)]


def _holds(first: int, last: int, payload: Buffer) -> bool:
    """Return whether the payload holds just these numbers; a process of another host may claim any."""
    try:
        return event_stream.is_whole(memoryview(payload), first, last)
    except FormatError:
        return False

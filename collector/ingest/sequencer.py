"""Decides what of a session's stream is stored: the rules that make a repeated batch count once.

The inbox brings what senders say, the adopter what it finds in orphaned outboxes; both go through
here, so that both obey the same marks. Runs on the event loop; only :meth:`Sequencer.open` waits.
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
from neural.tracking.collector.ingest.removals import Removals, admitted
from neural.tracking.collector.log.recovery import LostStretch, add_schema
from neural.tracking.collector.log.segment_files import SESSION_COPIES
from neural.tracking.collector.log.sessions import MAX_OPEN_SESSIONS, Position, Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Buffer, Record
from neural.tracking.state.tombstones import RUN_DELETED

logger = logging.getLogger(__name__)

MAX_SCHEMAS_BYTES = events.MAX_SCHEMA_BYTES + (1 << 20)  # the emitter's limit, and padding


class Verdict(enum.Enum):
    """What became of something a session said, and so what its sender has to hear."""

    STORED = "queued; acknowledged once it is on disk"
    REPEATED = "known already; acknowledge up to the durable mark"
    OUT_OF_ORDER = "not stored: does not go on where the session's mark is"
    UNFIT = "not stored: does not follow the format"


class Refused(Exception):
    """The session is not taken; ``code`` as in the wire protocol."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class Sequencer:
    """Takes sessions and their streams into the log."""

    def __init__(self, base_dir: Path, log: LogWriter, sessions: Sessions, removals: Removals) -> None:
        self.events_total = 0
        self.repeated_total = 0
        self._base_dir = base_dir
        self._log = log
        self._sessions = sessions
        self.removals = removals
        self.on_durable: Callable[[SessionState], None] = lambda session: None

    async def open(self, session_id: bytes, uid: bytes, info: dict[str, Any]) -> SessionState:
        """Return the session, known from now on; its marks are the most that log and run ledger know.

        Raises:
            Refused: its run was removed since it was opened, another run's session, too many sessions.
            OSError: it cannot be told whether its run was removed.
        """
        current = False
        while not current:
            stone, number = await self.removals.look_up(uid)
            known = await asyncio.to_thread(
                stored_runs.known, self._base_dir, str(info.get("dir", "")), session_id
            )
            current = self.removals.is_current(number)
        session = self._sessions.get(session_id)
        if stone is not None:
            let_in = admitted(stone, session_id, info, session)
            if let_in is None:
                if session is not None:
                    session.deleted = True
                raise Refused(RUN_DELETED, f"run {stone.folder or info.get('dir', '?')} was removed")
            info = let_in
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
        if known.last > session.received:
            self._skip_to(session, known.last)
        return session

    def data(
        self, session: SessionState, first: int, last: int, base: int, schemas: bytes, payload: Buffer
    ) -> Verdict:
        """Queue a batch whose checksum was verified, if it goes on where the session's mark is."""
        if session.deleted or not self._fits(first, last, base, payload):
            return Verdict.UNFIT
        if last <= session.received:
            self.repeated_total += 1
            return Verdict.REPEATED
        if session.ended is not None:
            return Verdict.UNFIT
        if first != session.received + 1:
            return Verdict.OUT_OF_ORDER
        try:
            fresh = self._fresh_schemas(session, schemas)
        except FormatError as error:
            logger.warning("schemas of session %s were refused: %s", session.id.hex(), error)
            return Verdict.UNFIT
        if fresh:
            self._log.append(segment.SCHEMAS, [session.id, *fresh])
        head = events.pack_batch(session.id, first, last, base, b"")
        self._store(session, segment.BATCH, [head, payload], last)
        self.events_total += last - first + 1
        return Verdict.STORED

    def gap(self, session: SessionState, first: int, last: int, reason: str, **more: Any) -> Verdict:
        """Record that numbers will not arrive, as far as they go on where the session's mark is."""
        if not 1 <= first <= last:
            return Verdict.UNFIT
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
        """Close a session of which all ``n`` numbers are here; ``done`` runs once that is on disk."""
        if session.ended is not None:
            self._log.after_sync(lambda _: done())
            return Verdict.REPEATED
        if n > session.received:
            return Verdict.OUT_OF_ORDER

        def ended(position: Position) -> None:
            session.ended = n
            session.stored(session.durable, position)
            done()

        self._log.append(segment.NOTE, [events.pack_note(session.id, "bye", "bye", time.time_ns(), n=n)], ended)
        return Verdict.STORED

    def note(self, session: SessionState, kind: str, key: str, **data: Any) -> None:
        """Record what no session emits: how it died, that it is silent. Kept once per kind and key."""
        self._log.append(segment.NOTE, [events.pack_note(session.id, kind, key, time.time_ns(), **data)])

    async def late_note(
        self, session_id: bytes, uid: bytes, info: Mapping[str, Any], kind: str, key: str, **data: Any
    ) -> Position:
        """Record what became of something a session emitted; the session may have ended, and be forgotten.

        Returns:
            Where in the log it is, once it is on disk.
        """
        session = self._sessions.get(session_id)
        if session is None:
            known = await asyncio.to_thread(
                stored_runs.known, self._base_dir, str(info.get("dir", "")), session_id
            )
            session = self._sessions.get(session_id)
        if session is None:  # introduced anew, as one that is over, or nobody could tell whose the note is
            session = SessionState(session_id, uid, dict(info), received=known.last, durable=known.last)
            session.ended = known.last if known.ended is None else known.ended
            self._sessions.add(session)
            for _ in range(SESSION_COPIES):
                self._log.append(segment.SESSION, [events.pack_session(session_id, uid, session.info)])
            self._log.append(segment.MARK, [events.pack_mark(session_id, known.last, session.ended)])
        durable: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        note = events.pack_note(session_id, kind, key, time.time_ns(), **data)
        session.notes_held += 1
        self._log.append(segment.NOTE, [note], durable.set_result)
        try:
            position = await asyncio.shield(durable)  # should this be cancelled, the log still tells it
            session.end = max(session.end, position)
        finally:
            session.notes_held -= 1
        return position

    @property
    def durable(self) -> Position:
        """Up to where the log is on disk."""
        return self._log.durable

    def note_death(self, session: SessionState, reason: str, signal: int | None, open_gap: str | None) -> None:
        """Record how a session's process ended that emitted no end."""
        more = {"signal": signal, "open_gap": open_gap}
        told = {key: value for key, value in more.items() if value is not None}
        self.note(session, "died", "died", reason=reason, **told)
        logger.info("session %s ended without an end: %s", session.id.hex(), reason)

    def record_lost(self, lost: list[LostStretch]) -> None:
        """Record what a start found damaged in the log."""
        for session, first, last in lost:
            self.note(session, "gap", f"{first}-{last}", first=first, last=last, reason="damage")

    def forget_run(self, uid: bytes) -> list[SessionState]:
        """Take nothing more of a run that was just removed; return its sessions."""
        gone = [session for session in self._sessions if session.uid == uid]
        for session in gone:
            session.deleted = True
        return gone

    def _skip_to(self, session: SessionState, last: int) -> None:
        """Take over what the run's ledger knows beyond the log: stored, though this log never had it."""
        session.received = last
        mark = events.pack_mark(session.id, last, None)
        self._log.append(segment.MARK, [mark], lambda position: session.stored(last, position))

    def _store(self, session: SessionState, kind: int, body: list[Buffer], last: int) -> None:
        session.received = last
        session.seen_s = time.monotonic()

        def stored(position: Position) -> None:
            session.stored(last, position)
            self.on_durable(session)

        self._log.append(kind, body, stored)

    def _fits(self, first: int, last: int, base: int, payload: Buffer) -> bool:
        size = len(payload)
        if not 1 <= first <= last or not size or size % segment.ALIGNMENT or base % segment.ALIGNMENT:
            return False
        return base // segment.LAP_BYTES == (base + size - 1) // segment.LAP_BYTES

    def _fresh_schemas(self, session: SessionState, schemas: bytes) -> list[bytes]:
        """Return the SCHEMA records the log's current segment does not have yet."""
        found: list[tuple[int, bytes]] = []
        for item in segment.scan(schemas, session.id, base=0):
            if not isinstance(item, Record) or item.kind != segment.SCHEMA:
                raise FormatError("something that is no schema of this session")
            found.append((item.id, schemas[item.pos : item.end]))
        new = [(known_id, record) for known_id, record in found if known_id not in session.schemas]
        size = session.schema_bytes + sum(len(record) for _, record in new)
        if len(session.schemas) + len(new) > events.MAX_SCHEMAS or size > MAX_SCHEMAS_BYTES:
            raise FormatError(f"{size} bytes of schemas, over the limit of a session")
        return [record for known_id, record in new if add_schema(session, known_id, record)]

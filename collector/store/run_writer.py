"""Writes one run's folder: tail, event lines, ledger, parts. Their order of becoming durable makes it safe.

First the tail and the event lines become durable, then the ledger that lists how far they are valid, then the
cursor. Everything beyond what the ledger lists is cut when the run is opened. It comes again from the log,
which keeps it until the cursor has passed. So nothing here trusts pages that were never synced.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

from neural.tracking.collector.log.items import EventBatch, LoggedSession, SessionMark, SessionNote
from neural.tracking.collector.store.append_file import TailFile, create_tail, open_events, tail_identity
from neural.tracking.collector.store.ledger_recovery import (
    lost_numbers,
    rebuilt_ledger,
    settle_ended,
    stored_by_others,
    without_stored,
)
from neural.tracking.collector.store.part_set import PartSet
from neural.tracking.collector.store.run_folder import folder_id
from neural.tracking.core.files import atomic_write, fsync_dir, fsync_file, is_there
from neural.tracking.core.os_support import free_and_reserve
from neural.tracking.errors import FormatError, RetryLater
from neural.tracking.formats import event_lines, events, ledgers, segment
from neural.tracking.formats.artifact_event import KIND as ARTIFACT
from neural.tracking.formats.artifact_event import PRUNED as ARTIFACT_PRUNED
from neural.tracking.formats.events import Gap
from neural.tracking.formats.ledgers import Ledger, SessionEntry
from neural.tracking.formats.run_file import RUN_FILE
from neural.tracking.formats.tails import Tail
from neural.tracking.reader.ledger_check import owners

logger = logging.getLogger(__name__)

TAIL_BYTES = 16 << 20
LEAST_TAIL_BYTES = 1 << 20
TAIL_AGE_S = 300.0
SETTLE_COUNT = 256
ENDS = ("bye", "died")  # kinds of notes that end a session


class RunWriter:
    """The only writer of its collector's files in one run folder. Not thread-safe; the methods block."""

    def __init__(self, folder: Path, uid: bytes, collector: str) -> None:
        self.folder = folder
        self.uid = uid
        self._metrics = folder / "metrics"
        self._metrics.mkdir(exist_ok=True)
        self._collector = collector
        # While a tail is made a part, its points are on disk twice: on a small disk a tail must stay small.
        _, reserve = free_and_reserve(folder)
        self._most_tail_bytes = min(TAIL_BYTES, max(LEAST_TAIL_BYTES, reserve // 2))
        self._ledger_file = folder / f"ledger-{collector}.json"
        self._tail_file = self._metrics / f"tail-{collector}.seg"
        events_file = folder / f"events-{collector}.jsonl"
        self.parts = PartSet(self._metrics, collector)
        self._ledger, ledger_valid = self._read_ledger()
        self.fresh = not self._ledger.sessions  # no file of this collector was here
        self._others = stored_by_others(folder, collector)
        self._tail_last = self.parts.highest()
        self._folder_id = folder_id(folder)
        self.unsaved = False
        self.changed: set[str] = set()  # the views that no longer show what is stored
        self.artifacts: list[tuple[LoggedSession, events.Event]] = []  # artifact events without a job
        with contextlib.ExitStack() as opened:  # close what was opened if a later step fails: a retry follows
            self._events = open_events(events_file, self._ledger.events_bytes)
            opened.callback(lambda: self._events.close())
            self._tail, whole = self._open_tail()
            opened.callback(lambda: self._tail.close())
            self.has_points = bool(self.parts.parts) or not self._tail.empty
            if not (whole and ledger_valid) or self._events.size < self._ledger.events_bytes:
                self._compact_and_check(damaged=True)
            opened.pop_all()

    @property
    def open_sessions(self) -> bool:
        """Whether a session may still bring something. Never blocks."""
        return any(
            entry.ended is None and not any(note.startswith("died ") for note in entry.notes)
            for entry in self._ledger.sessions.values()
        )

    @property
    def complete(self) -> bool:
        """Whether every session has ended and is stored up to its end. Never blocks."""
        return self._ledger.complete

    def last(self, session: bytes) -> int:
        """Return the number up to which everything of the session is stored or a gap. Never blocks."""
        entry = self._ledger.sessions.get(session.hex())
        return 0 if entry is None else entry.last

    def removed(self) -> bool:
        """Return whether the folder was removed, or a file in it that is being written."""
        return self._folder_id != folder_id(self.folder) or self._tail.is_removed() or self._events.is_removed()

    def apply(self, item: EventBatch | SessionNote | SessionMark) -> None:
        """Store one item of the log if it is not stored yet. After RetryLater, call again with the item."""
        if isinstance(item, EventBatch):
            entry = self._entry(item.session)
            if item.last > entry.last:
                self._apply_batch(item, entry)
        elif isinstance(item, SessionNote):
            self._apply_note(item)
        elif item.last > 0 or item.ended is not None:
            entry = self._entry(item.session)
            self._close_hole(item.session, entry, item.last)
            entry.ended = item.ended if item.ended is not None else entry.ended

    def write_off(self, session: LoggedSession, last: int, reason: str) -> None:
        """Record that nothing of the session up to number ``last`` will be found here. Raises RetryLater."""
        entry = self._entry(session)
        if last > entry.last:
            self._append_lines([self._gap(session, entry.last + 1, last, reason)])
            entry.last = last

    def flush(self) -> None:
        """Make everything applied durable: tail and event lines first, then the ledger.

        Raises:
            RetryLater: the ledger could not be written; nothing is lost.
            OSError: a sync failed; only reading the log again from the cursor is safe.
        """
        if not self.unsaved:
            return
        self._tail.sync()
        self._events.sync()
        self._save_ledger()

    def compact_when_due(self) -> None:
        """Make the tail a part if it is old, and merge parts. Raises RetryLater."""
        if not self._tail.empty and time.monotonic() - self._tail.began_s > TAIL_AGE_S:
            self.compact()
        self.parts.merge(self._ranks())
        self.parts.sweep()

    def compact(self) -> None:
        """Make the tail a part. Raises RetryLater if no part was made; the tail is unchanged then."""
        if self._tail.empty:
            return
        self._compact_and_check(damaged=False)

    def close(self) -> None:
        """Close the files; what was not flushed comes again from the log."""
        self.parts.sweep(at_once=True)
        self._tail.close()
        self._events.close()

    def _read_ledger(self) -> tuple[Ledger, bool]:
        """Return the ledger, and whether it is valid for the files. A lost ledger is made again from the files.

        A new folder gets its ledger before anything else, so a crash never leaves files without one.
        """
        try:
            ledger = ledgers.read(self._ledger_file)
            if ledger is not None:
                return ledger, True
            if self._collector not in owners(self.folder):
                return self._first_ledger(), True
            logger.error("%s: the ledger is gone; it was made again from what is stored", self.folder.name)
        except FormatError as error:
            logger.error("%s: %s; it was made again from what is stored", self.folder.name, error)
        return rebuilt_ledger(self.folder, self._collector, self.uid), False

    def _first_ledger(self) -> Ledger:
        """Make the folder durable, with ``run.json`` and a ledger that lists nothing yet."""
        with contextlib.suppress(FileNotFoundError):
            fsync_file(self.folder / RUN_FILE)
        ledger = Ledger(uid=self.uid.hex())
        atomic_write(self._ledger_file, ledger.encode())
        fsync_dir(self.folder.parent)
        return ledger

    def _open_tail(self) -> tuple[TailFile, bool]:
        """Return the tail cut to its durable size, and whether everything that was durable is there."""
        ledger = self._ledger
        identity = tail_identity(self._tail_file)
        if identity is not None and identity.hex() == ledger.tail_uuid:
            whole = self._tail_file.stat().st_size >= ledger.tail_bytes
            tail = TailFile(self._tail_file, identity, ledger.tail_bytes)
            tail.size = min(tail.size, self._tail_file.stat().st_size) & -segment.ALIGNMENT
            return tail, whole
        if identity is not None or ledger.tail_bytes <= segment.HEADER_BYTES:
            # This tail was made after the ledger: the part of the tail before it is in place.
            return create_tail(self._tail_file), True
        if not is_there(self._tail_file):
            return create_tail(self._tail_file), False
        return TailFile(self._tail_file, bytes.fromhex(ledger.tail_uuid), ledger.tail_bytes), False

    def _compact_and_check(self, *, damaged: bool) -> None:
        """Make the tail a part. If anything looks damaged, record as gaps what was durable and is lost."""
        tail = Tail(self._tail.read(), self._tail.uuid)
        self.parts.add(tail, self._ranks())
        if damaged or tail.damages or tail.torn is not None:
            logger.error("%s: what was stored is damaged", self.folder.name)
            durable = {session: entry.last for session, entry in self._ledger.sessions.items()}
            for session, first, last in lost_numbers(self.folder, durable):
                gap = Gap(first, last, time.time_ns(), "store_damaged")
                self._append_lines([event_lines.gap_line(session, gap)])
            # The part holds what was in the tail, so the ledger may list all of it.
            self._events.sync()
            self._save_ledger()
        old, self._tail = self._tail, create_tail(self._tail_file)
        old.close()
        self.unsaved = True

    def _ranks(self) -> dict[str, int]:
        return {session: entry.rank for session, entry in self._ledger.sessions.items()}

    def _entry(self, session: LoggedSession) -> SessionEntry:
        """Return the ledger's entry of a session; describe the session first if it is new."""
        key = session.session.hex()
        self._ledger.settled.discard(key)  # it may change now, so the ledger has to list it again
        entry = self._ledger.sessions.get(key)
        if entry is None:
            self._append_lines([event_lines.info_line(key, session.uid, session.info)])
            # Another collector may have stored its beginning.
            entry = SessionEntry(last=self._others.get(key, 0), rank=session.rank)
            self._ledger.sessions[key] = entry
            self.changed |= {"metadata"}
        return entry

    def _close_hole(self, session: LoggedSession, entry: SessionEntry, upto: int) -> None:
        """Record as a gap the numbers that should have come before number ``upto``."""
        if upto > entry.last:
            reason = "run_folder_removed" if self.fresh and entry.last == 0 else "log_damaged"
            self._append_lines([self._gap(session, entry.last + 1, upto, reason)])
            entry.last = upto

    def _gap(self, session: LoggedSession, first: int, last: int, reason: str) -> bytes:
        return event_lines.gap_line(session.session.hex(), Gap(first, last, time.time_ns(), reason))

    def _apply_batch(self, batch: EventBatch, entry: SessionEntry) -> None:
        self._close_hole(batch.session, entry, batch.first - 1)
        if batch.first <= entry.last:
            batch = without_stored(batch, entry.last)
        try:
            decoded = batch.decode()
        except FormatError as error:
            singles = [one for one in batch.singly() if one.last > entry.last]
            if len(singles) > 1:
                for one in singles:
                    self._apply_batch(one, entry)
            else:
                logger.error("events %d to %d were not understood: %s", batch.first, batch.last, error)
            self._close_hole(batch.session, entry, batch.last)
            return
        if decoded.blocks:
            self._append_to_tail(batch)
        key = batch.session.session.hex()
        lines = [
            event_lines.event_line(key, event) for event in sorted(decoded.events) if event.seq > entry.last
        ]
        lines += [event_lines.gap_line(key, gap) for gap in decoded.gaps if gap.last > entry.last]
        if lines:
            self._append_lines(lines)
        for event in decoded.events:
            self._note_event(event, entry)
            if event.kind == ARTIFACT and event.seq > entry.last:
                self.artifacts.append((batch.session, event))
        if not self.has_points and decoded.blocks:
            self.has_points = True
            self.changed.add("metadata")
        entry.last = batch.last
        self.unsaved = True

    def _note_event(self, event: events.Event, entry: SessionEntry) -> None:
        if event.kind == "end":
            entry.ended = event.seq
            self.changed.add("end")
        elif event.kind == "params":
            self.changed |= {"metadata", "hyperparameters"}
        else:
            self.changed.add("metadata")

    def _append_to_tail(self, batch: EventBatch) -> None:
        session = batch.session.session
        if batch.last <= self._tail_last.get(session, 0):
            return  # a part has the batch: the tail was compacted before the ledger was written
        if self._tail.size >= self._most_tail_bytes:
            self.compact()
        pieces: list[Any] = []
        known_schemas = self._tail.written_schemas.get(session)
        if known_schemas is None:
            body = events.pack_session(session, batch.session.uid, dict(batch.session.info))
            pieces += self._tail.frame(segment.SESSION, [body], 0)
        new = batch.session.schema_records.keys() - (known_schemas or set())
        if new:
            records = b"".join(batch.session.schema_records[schema] for schema in sorted(new))
            pieces += self._tail.frame(segment.SCHEMAS, [session, records], sum(map(len, pieces)))
        head = events.pack_batch(session, batch.first, batch.last, batch.base, b"")
        pieces += self._tail.frame(segment.BATCH, [head, batch.payload], sum(map(len, pieces)))
        self._tail.append(pieces)
        self._tail.written_schemas.setdefault(session, set()).update(new)
        self._tail_last[session] = batch.last

    def _append_lines(self, lines: list[bytes]) -> None:
        self._events.append(lines)
        self.unsaved = True

    def _apply_note(self, item: SessionNote) -> None:
        note, entry = item.note, self._entry(item.session)
        if note["kind"] == "gap":
            first, last = note.get("first"), note.get("last")
            if isinstance(first, int) and isinstance(last, int) and last > entry.last:
                self._close_hole(item.session, entry, first - 1)
                reason = str(note.get("reason", "unknown"))
                self._append_lines([self._gap(item.session, entry.last + 1, last, reason)])
                entry.last = last
            return
        key = f"{note['kind']} {note['key']}"
        if key in entry.notes:
            return
        self._append_lines([event_lines.note_line(item.session.session.hex(), note)])
        entry.notes.append(key)
        if note["kind"] in (ARTIFACT, ARTIFACT_PRUNED):
            self.changed |= {"artifacts", "metadata", "summary"} if entry.ended is not None else {"artifacts"}
            return
        # After an end event the bye note changes nothing that is shown.
        is_end = note["kind"] in ENDS and entry.ended is None
        self.changed |= {"metadata", "end"} if is_end else {"metadata"}
        if note["kind"] == "bye":
            n = note.get("n")
            if isinstance(n, int):
                self._close_hole(item.session, entry, n)
                entry.ended = n

    def _save_ledger(self) -> None:
        ledger = self._ledger
        ledger.tail_uuid, ledger.tail_bytes = self._tail.uuid.hex(), self._tail.size
        ledger.events_bytes = self._events.size
        try:
            if len(ended := ledger.to_settle()) >= SETTLE_COUNT:
                settle_ended(ledger, self._ledger_file, ended)
            atomic_write(self._ledger_file, ledger.encode())
        except OSError as error:
            raise RetryLater(f"cannot write {self._ledger_file}: {error}") from error
        self.unsaved = False
        self.fresh = False

"""The events of a ``base_dir`` that are not in run folders yet: those in outboxes, log and quarantine.

The order of reading is that in which events move: outbox, log, quarantine, and then (by the caller) run
folders. So events that move meanwhile are seen at least once.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neural.tracking.core.files import TEMPORARY_PREFIX, read_json
from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.formats.segment import Damage, Record
from neural.tracking.formats.tails import runs_past_end
from neural.tracking.state.outbox_files import ADOPTED_SUFFIX, Orphan, OutboxPiece
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import list_quarantined
from neural.tracking.state.tombstones import Late, Tombstone, Tombstones
from neural.tracking.state.unapplied_log import log_segments, uuid_of
from neural.tracking.verify.counts import Count, Counts, NumberSet

REMOVED_WITHIN_S = 0.5


@dataclass
class Pending:
    """The counts by run uid and session, the requested folder names of the runs, and the damages found."""

    tombstones: Tombstones
    runs: dict[bytes, Counts] = field(default_factory=dict)
    folders: dict[bytes, str] = field(default_factory=dict)
    damages: list[str] = field(default_factory=list)
    unseen: str | None = None  # a text that says what could not be read
    outboxes: list[tuple[Count, NumberSet]] = field(default_factory=list)  # the numbers in each outbox
    late: dict[bytes, dict[str, Late]] = field(default_factory=dict)  # the accounts of covered sessions
    stones: dict[bytes, Tombstone | None] = field(default_factory=dict)

    def is_covered(self, uid: bytes, info: dict[str, Any]) -> bool:
        """Return whether a session's run was removed after the session was opened; may read the disk."""
        if uid not in self.stones:
            self.stones[uid] = self.tombstones.of(uid)
        stone = self.stones[uid]
        return stone is not None and stone.covers(info)

    def count(self, session: bytes, uid: bytes, info: dict[str, Any]) -> Count:
        """Return the session's count; the first call creates it."""
        if isinstance(info.get("dir"), str):
            self.folders.setdefault(uid, info["dir"])
        return self.runs.setdefault(uid, {}).setdefault(session.hex(), Count())


def find_pending(base_dir: Path) -> Pending:
    """Return the content of this host's outboxes, log and quarantine for ``base_dir``. Blocks: reads it all.

    Raises:
        OSError: they cannot be read.
    """
    state = State.for_base_dir(base_dir)
    found = Pending(Tombstones(state.tombstones))
    if not state.root.is_dir():
        return found
    if not os.access(state.root, os.R_OK | os.X_OK):
        found.unseen = f"{state.root} is another user's: its outboxes and log were not read"
        return found
    _outboxes(state, found)
    _log(state, found)
    _quarantined(state, found)
    _strays(state.strays, found)
    for count, held in found.outboxes:
        # An outbox holds acknowledged events until their segment is free: do not count them twice.
        held.discard_upto(count.in_log)
        count.pending.add_spans(held.spans())
    for uid, sessions in found.tombstones.late().items():
        for session, late in sessions.items():
            known = found.late.setdefault(uid, {}).setdefault(session, late)
            known.n = max(known.n, late.n)
    for uid in found.late:
        found.is_covered(uid, {})  # reads the tombstone, which names the run's folder
    return found


def _outboxes(state: State, found: Pending) -> None:
    for folder in sorted(state.outbox.iterdir()) if state.outbox.is_dir() else []:
        if folder.name.startswith(TEMPORARY_PREFIX) or not folder.is_dir():
            continue
        try:
            _outbox_with_retries(folder, found)
        except FormatError as error:
            found.damages.append(f"outbox {folder.name}: {error}")


def _outbox_with_retries(folder: Path, found: Pending) -> None:
    """Count an outbox; its segments may be removed meanwhile, its folder renamed or removed.

    Raises:
        FormatError: its ``session.json`` is damaged, or a file is missing permanently.
    """
    missing, deadline = "", 0.0
    while True:
        place = folder if folder.exists() else folder.with_name(folder.name + ADOPTED_SUFFIX)
        if not place.exists():
            return  # acknowledged and removed: in the log or in the run folder
        try:
            return _outbox(place, found)
        except FileNotFoundError as error:
            # Segments of a fast training are removed while they are read, each time another one: no damage.
            if error.filename != missing:
                missing, deadline = error.filename, time.monotonic() + REMOVED_WITHIN_S
            elif time.monotonic() > deadline:
                raise FormatError(f"{Path(error.filename).name} is missing") from error
            time.sleep(0.01)


def _outbox(folder: Path, found: Pending) -> None:
    orphan = Orphan(folder)
    if found.is_covered(orphan.uid, orphan.info):
        late = Late.of(orphan.info, orphan.emitted, exact=True)
        found.late.setdefault(orphan.uid, {})[orphan.session.hex()] = late
        return
    held = NumberSet()
    begun = False
    for item in orphan.pieces():
        # Numbers missing before the first piece were acknowledged and freed; later ones become a gap.
        begun = begun or isinstance(item, OutboxPiece)
        if begun:
            held.add_spans([(item.first, item.last)])
    count = found.count(orphan.session, orphan.uid, orphan.info)
    count.claim(orphan.emitted)
    found.outboxes.append((count, held))


def _log(state: State, found: Pending) -> None:
    known: dict[bytes, Count] = {}
    for path, unapplied in log_segments(state):
        _segment(path, unapplied, known, found)


def _quarantined(state: State, found: Pending) -> None:
    """Count the events of quarantined runs, whose folders the store could not use."""
    for run in list_quarantined(state):
        for path in sorted(run.place.glob("*.seg")):
            _segment(path, 0, {}, found)


def _segment(path: Path, unapplied: int, known: dict[bytes, Count], found: Pending) -> None:
    for item in _records(path):
        if isinstance(item, Damage):
            if item.start >= unapplied:
                found.damages.append(f"log {path.name}: bytes {item.start} to {item.end} are damaged")
            continue
        try:
            _count_record(item, item.pos >= unapplied, known, found)
        except FormatError as error:
            found.damages.append(f"log {path.name}: {error}")


def _strays(path: Path, found: Pending) -> None:
    try:
        strays = read_json(path) or {}
        for session, (first, last) in strays.items():
            found.damages.append(
                f"log: events {first} to {last} of session {session[:8]} arrived, but their run is unknown"
            )
    except (OSError, ValueError, TypeError, AttributeError):
        found.damages.append(f"{path.name} cannot be read")


def _records(path: Path) -> Iterator[Record | Damage]:
    try:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (FileNotFoundError, ValueError):  # it was applied and removed meanwhile, or is empty
        return
    uuid = uuid_of(path)
    try:
        segment.read_header(view)
    except FormatError:
        yield Damage(0, min(len(view), segment.HEADER_BYTES))
    for item in segment.scan(view, uuid, base=-segment.HEADER_BYTES, start=segment.HEADER_BYTES):
        # A record that the end cuts off is being written, or was when a process died: it was not acknowledged.
        if isinstance(item, Record) or item.end < len(view) or not runs_past_end(view, item.start):
            yield item


def _count_record(record: Record, unapplied: bool, known: dict[bytes, Count], found: Pending) -> None:
    if record.kind == segment.SESSION:
        session, uid, info = events.unpack_session(record.body)
        if not found.is_covered(uid, info):  # otherwise it was removed with its run
            known[session] = found.count(session, uid, info)
        return
    count = known.get(bytes(record.body[:16]))
    if count is None:
        return
    first, last = _span(record)
    count.in_log = max(count.in_log, last)
    if unapplied and first:
        count.pending.add_spans([(first, last)])
    if unapplied and record.kind == segment.NOTE:
        note = events.unpack_note(record.body)[1]
        count.claim(note["n"] if note["kind"] == "bye" and isinstance(note.get("n"), int) else 0)


def _span(record: Record) -> tuple[int, int]:
    """Return the first and last number in a record; of a mark (0, last), of other records (0, 0)."""
    if record.kind == segment.BATCH:
        batch = events.unpack_batch(record.body)
        return batch.first, batch.last
    if record.kind == segment.MARK:
        return 0, events.unpack_mark(record.body)[1]
    if record.kind == segment.NOTE:
        note = events.unpack_note(record.body)[1]
        first, last = note.get("first"), note.get("last")
        if note["kind"] == "gap" and isinstance(first, int) and isinstance(last, int):
            return first, last
    return 0, 0

"""What has been emitted under a ``base_dir`` and is not in run folders yet: in outboxes and in the log.

Read in the direction in which events move, outbox, then log, then (by the caller) run folders, so that
whatever moves meanwhile is met at least once.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neural.tracking import events, segment
from neural.tracking.errors import FormatError
from neural.tracking.files import read_json
from neural.tracking.outbox_files import TEMPORARY_PREFIX, Orphan, Piece
from neural.tracking.segment import Damage, Record
from neural.tracking.state import State
from neural.tracking.verify import Count, Counts

STORE_CURSOR = "store.json"


@dataclass
class Pending:
    """Counts by run uid and session, the folder names those runs ask for, and remarks for people."""

    runs: dict[bytes, Counts] = field(default_factory=dict)
    folders: dict[bytes, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, session: bytes, uid: bytes, info: dict[str, Any]) -> Count:
        """Return the session's count, made at the first call."""
        if isinstance(info.get("dir"), str):
            self.folders.setdefault(uid, info["dir"])
        return self.runs.setdefault(uid, {}).setdefault(session.hex(), Count())


def find_pending(base_dir: Path) -> Pending:
    """Return what outboxes and log of this host hold for ``base_dir``.

    Raises:
        OSError: they cannot be read.
    """
    state = State.for_base_dir(base_dir)
    found = Pending()
    _outboxes(state, found)
    _log(state, found)
    for uid in [uid for uid in found.runs if (state.tombstones / uid.hex()).exists()]:
        del found.runs[uid]
    return found


def _outboxes(state: State, found: Pending) -> None:
    folders = sorted(state.outbox.iterdir()) if state.outbox.is_dir() else []
    for folder in folders:
        if folder.name.startswith(TEMPORARY_PREFIX) or not folder.is_dir():
            continue
        try:
            _outbox(folder, found)
        except FileNotFoundError:
            continue  # acknowledged and removed meanwhile: in the log or in the run folder
        except FormatError as error:
            found.notes.append(f"outbox {folder.name}: {error}")


def _outbox(folder: Path, found: Pending) -> None:
    orphan = Orphan(folder)
    count = found.count(orphan.session, orphan.uid, orphan.info)
    begun = False
    for item in orphan.pieces():
        # What is lost before the first piece was acknowledged and freed; after it, it becomes a gap.
        begun = begun or isinstance(item, Piece)
        if begun:
            count.pending.add_span(item.first, item.last)
    count.claim(orphan.emitted)


def _log(state: State, found: Pending) -> None:
    cursor = read_json(state.cursors / STORE_CURSOR)
    uuid, offset = cursor["position"] if isinstance(cursor, dict) else ("", 0)
    segments = sorted(state.log.glob("*-*.seg")) if state.log.is_dir() else []
    names = [path.stem.partition("-")[2] for path in segments]
    begin = names.index(uuid) if uuid in names else 0
    known: dict[bytes, Count] = {}
    for path in segments[begin:]:
        unapplied = offset if path.stem.endswith(uuid) and uuid else 0
        for item in _records(path):
            if isinstance(item, Damage):
                if item.start >= unapplied:
                    found.notes.append(f"log {path.name}: bytes {item.start} to {item.end} are damaged")
                continue
            try:
                _take(item, item.pos >= unapplied, known, found)
            except FormatError as error:
                found.notes.append(f"log {path.name}: {error}")


def _records(path: Path) -> Iterator[Record | Damage]:
    try:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (FileNotFoundError, ValueError):  # applied and removed meanwhile; or empty
        return
    try:
        uuid = segment.read_header(view[: segment.HEADER_BYTES]).uuid
    except FormatError:
        yield Damage(0, len(view))
        return
    yield from segment.scan(view, uuid, base=-segment.HEADER_BYTES, start=segment.HEADER_BYTES)


def _take(record: Record, unapplied: bool, known: dict[bytes, Count], found: Pending) -> None:
    if record.kind == segment.SESSION:
        session, uid, info = events.unpack_session(record.body)
        known[session] = found.count(session, uid, info)
        return
    count = known.get(bytes(record.body[:16]))
    if count is None or not unapplied:
        return
    if record.kind == segment.BATCH:
        batch = events.unpack_batch(record.body)
        count.pending.add_span(batch.first, batch.last)
    elif record.kind == segment.NOTE:
        note = events.unpack_note(record.body)[1]
        if note["kind"] == "gap" and isinstance(note.get("first"), int) and isinstance(note.get("last"), int):
            count.pending.add_span(note["first"], note["last"])
        elif note["kind"] == "bye" and isinstance(note.get("n"), int):
            count.claim(note["n"])

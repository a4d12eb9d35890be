"""A run whose folder cannot be used: what the log brings of it is kept in a small log of its own.

So one folder that belongs to another user, or that a disk will not write, holds up no other run and
keeps no segment of the log. Once the folder can be used again, all of it is applied as the log would
have been, and this place is removed.

``why.json`` is written before anything else. Also when there is nothing to keep yet: a worker that has to
start again because of this run must not meet it unprepared.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural.tracking.collector.log import segment_files
from neural.tracking.collector.log.items import EventBatch, LogItem, SessionNote
from neural.tracking.collector.log.reader import CursorPosition, LogReader
from neural.tracking.collector.store.append_file import TailFile
from neural.tracking.core.files import fsync_dir, matching, read_json, write_json
from neural.tracking.errors import RetryLater
from neural.tracking.formats import events, segment
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import WHY_FILE

LONGEST_PAUSE_S = 60.0


class Quarantine:
    """One run's; made by :func:`begin` or found by :func:`found`. Not thread-safe; blocks on the disk."""

    def __init__(self, place: Path, why: dict[str, Any]) -> None:
        self.uid = bytes.fromhex(place.name)
        self.place = place
        self._why = why
        self._file: TailFile | None = None
        listed = segment_files.list_segments(place)
        if listed:
            self._file = TailFile(listed[0].path, listed[0].uuid, _valid_end(listed[0]))

    @property
    def empty(self) -> bool:
        """Return whether nothing is kept here."""
        return self._file is None or self._file.empty

    @property
    def run(self) -> str:
        """The folder it belongs into."""
        return str(self._why["run"])

    @property
    def outlived(self) -> bool:
        """Return whether the reason for it is long past."""
        return time.time() - float(self._why["retry_s"]) > LONGEST_PAUSE_S

    @property
    def due(self) -> bool:
        """Return whether the folder is to be tried again; a clock that was set back delays it little."""
        return not time.time() < float(self._why["retry_s"]) <= time.time() + LONGEST_PAUSE_S

    def failed(self, error: Exception, *, later: bool = False) -> None:
        """Remember what the last try met; the next one is later than the last, the very first at once.

        ``later``: not before the longest pause, since each try may cost all other runs a restart.
        """
        tries = self._why["tries"]
        pause_s = min(LONGEST_PAUSE_S, 2.0**tries) if tries else 0.0
        pause_s = LONGEST_PAUSE_S if later else pause_s
        self._why |= {"error": str(error)[:1000], "tries": tries + 1, "retry_s": time.time() + pause_s}
        write_json(self.place / WHY_FILE, self._why, mode=0o600)

    def keep(self, item: LogItem) -> None:
        """Append one item of the log.

        Raises:
            RetryLater: there is no room; call again with the same item.
        """
        file = self._file
        if file is None:
            file = self._file = _create(self.place)
        session = item.session.session
        told, pieces = file.told.get(session), list[Any]()
        if told is None:
            about = events.pack_session(session, item.session.uid, dict(item.session.info))
            pieces += file.frame(segment.SESSION, [about], 0)
        new = item.session.schema_records.keys() - (told or set())
        if new:
            records = b"".join(item.session.schema_records[schema] for schema in sorted(new))
            pieces += file.frame(segment.SCHEMAS, [session, records], sum(map(len, pieces)))
        kind, body = _packed(item)
        file.append(pieces + file.frame(kind, body, sum(map(len, pieces))))
        file.told.setdefault(session, set()).update(new)

    def sync(self) -> None:
        """Make what was kept durable; the cursor may pass it then. Raises OSError."""
        if self._file is not None:
            self._file.sync()

    def items(self) -> Iterator[list[LogItem]]:
        """Yield what is kept, in order, some megabytes at a time; each list is valid until the next."""
        if self._file is None:
            return
        follower = LogReader(self.place, None)
        try:
            while items := follower.read(CursorPosition(self._file.uuid.hex(), self._file.size)):
                yield items
        finally:
            follower.close()

    def remove(self) -> None:
        """All of it is where it belongs: remove this place."""
        self.close()
        # The reason last: without it nobody looks here again, with it the rest may be applied twice.
        for path in sorted(self.place.iterdir(), key=lambda path: path.name == WHY_FILE):
            path.unlink(missing_ok=True)
        self.place.rmdir()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def begin(state: State, uid: bytes, run: str) -> Quarantine:
    """Make the place, known to every later start of the worker once :meth:`Quarantine.failed` said why.

    Raises:
        OSError: it could not be made.
    """
    place = state.quarantine / uid.hex()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (state.quarantine, state.root):
        fsync_dir(folder)
    return Quarantine(place, {"run": run, "since_ns": time.time_ns(), "tries": 0, "retry_s": 0.0})


def found(state: State) -> Iterator[Quarantine]:
    """Yield those an earlier worker left.

    Raises:
        OSError: they cannot be read.
    """
    for place in matching(state.quarantine, "*"):
        why: dict[str, Any] = {"run": "?", "since_ns": time.time_ns(), "tries": 1, "retry_s": 0.0}
        with contextlib.suppress(ValueError, TypeError):  # its reason is damaged; what it keeps need not be
            told = read_json(place / WHY_FILE) or {}
            why |= {key: told[key] for key in why.keys() & told.keys() if type(told[key]) is type(why[key])}
        if len(place.name) == 32:
            yield Quarantine(place, why)


def discard(state: State, uid: bytes) -> None:
    """Remove what is kept of a run that was deleted."""
    shutil.rmtree(state.quarantine / uid.hex(), ignore_errors=True)


def _packed(item: LogItem) -> tuple[int, list[Any]]:
    session = item.session.session
    if isinstance(item, EventBatch):
        return segment.BATCH, [
            events.pack_batch(session, item.first, item.last, item.base, b""),
            item.payload,
        ]
    if isinstance(item, SessionNote):
        return segment.NOTE, [events.pack_note(session, **item.note)]
    return segment.MARK, [events.pack_mark(session, item.last, item.ended)]


def _create(place: Path) -> TailFile:
    named = segment_files.SegmentFile.named(place, 1, secrets.token_bytes(16))
    try:
        # In one go, so that no start ever finds a file that does not say what it is.
        temporary = named.path.with_suffix(".tmp")
        temporary.write_bytes(segment.Header(segment.ROLE_LOG, named.uuid, 0, time.time_ns()).pack())
        os.rename(temporary, named.path)
        fsync_dir(place)
    except OSError as error:
        raise RetryLater(f"cannot make {named.path}: {error}") from error
    file = TailFile(named.path, named.uuid, segment.HEADER_BYTES)
    file.dirty = True
    return file


def _valid_end(file: segment_files.SegmentFile) -> int:
    """Return where its valid records end: beyond is what a killed worker had not written in full."""
    end = segment.HEADER_BYTES
    with segment_files.mapped_view(file.path) as view:
        for item in segment.scan(view, file.uuid, base=-segment.HEADER_BYTES, start=segment.HEADER_BYTES):
            end = item.end if isinstance(item, segment.Record) else end
    return end

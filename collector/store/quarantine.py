"""Keeps what the log brings of a run whose folder cannot be used, in a small log of its own.

So one folder that belongs to another user, or that the disk does not write, delays no other run and keeps no
segment of the log. Once the folder can be used again, everything is applied as from the log, and the quarantine
is removed.

``why.json`` is written before anything else, even if there is nothing to keep yet: a worker that has to restart
because of this run must find it.
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
    """The quarantine of one run; made by :func:`begin` or loaded by :func:`load_all`. Not thread-safe.

    The methods block on the disk; the properties do not.
    """

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
        """Whether nothing is kept here."""
        return self._file is None or self._file.empty

    @property
    def run(self) -> str:
        """The name of the run's folder."""
        return str(self._why["run"])

    @property
    def outlived(self) -> bool:
        """Whether the reason for the quarantine is long past."""
        return time.time() - float(self._why["retry_s"]) > LONGEST_PAUSE_S

    @property
    def due(self) -> bool:
        """Whether the folder should be tried again; a clock that was set back delays that only a little."""
        return not time.time() < float(self._why["retry_s"]) <= time.time() + LONGEST_PAUSE_S

    def failed(self, error: Exception, *, later: bool = False) -> None:
        """Record that a try failed with ``error``. The first retry is at once, the next ones ever later.

        ``later``: not before the longest pause, because each try may cost all other runs a restart. Raises
        OSError.
        """
        tries = self._why["tries"]
        pause_s = min(LONGEST_PAUSE_S, 2.0**tries) if tries else 0.0
        pause_s = LONGEST_PAUSE_S if later else pause_s
        self._why |= {"error": str(error)[:1000], "tries": tries + 1, "retry_s": time.time() + pause_s}
        write_json(self.place / WHY_FILE, self._why, mode=0o600)

    def keep(self, item: LogItem) -> None:
        """Append one item of the log.

        Raises:
            RetryLater: there is no space; call again with the same item.
        """
        file = self._file
        if file is None:
            file = self._file = _create(self.place)
        session = item.session.session
        written, pieces = file.written_schemas.get(session), list[Any]()
        if written is None:
            about = events.pack_session(session, item.session.uid, dict(item.session.info))
            pieces += file.frame(segment.SESSION, [about], 0)
        new = item.session.schema_records.keys() - (written or set())
        if new:
            records = b"".join(item.session.schema_records[schema] for schema in sorted(new))
            pieces += file.frame(segment.SCHEMAS, [session, records], sum(map(len, pieces)))
        kind, body = _packed(item)
        file.append(pieces + file.frame(kind, body, sum(map(len, pieces))))
        file.written_schemas.setdefault(session, set()).update(new)

    def sync(self) -> None:
        """Make what was kept durable; the cursor may pass it then. Raises OSError."""
        if self._file is not None:
            self._file.sync()

    def items(self) -> Iterator[list[LogItem]]:
        """Yield what is kept, in order, some megabytes at a time; each list is valid until the next."""
        if self._file is None:
            return
        reader = LogReader(self.place, None)
        try:
            while items := reader.read(CursorPosition(self._file.uuid.hex(), self._file.size)):
                yield items
        finally:
            reader.close()

    def remove(self) -> None:
        """Remove the quarantine: everything in it was applied to the run's folder."""
        self.close()
        # The reason is removed last: without it the rest would be forgotten; with it the rest is at worst
        # applied twice.
        for path in sorted(self.place.iterdir(), key=lambda path: path.name == WHY_FILE):
            path.unlink(missing_ok=True)
        self.place.rmdir()

    def close(self) -> None:
        """Close the file. Never blocks."""
        if self._file is not None:
            self._file.close()
            self._file = None


def begin(state: State, uid: bytes, run: str) -> Quarantine:
    """Create the place of a quarantine. Later starts of the worker find it after :meth:`Quarantine.failed`.

    Blocks on the disk.

    Raises:
        OSError: it could not be created.
    """
    place = state.quarantine / uid.hex()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (state.quarantine, state.root):
        fsync_dir(folder)
    return Quarantine(place, {"run": run, "since_ns": time.time_ns(), "tries": 0, "retry_s": 0.0})


def load_all(state: State) -> Iterator[Quarantine]:
    """Yield the quarantines that an earlier worker left. Blocks on the disk.

    Raises:
        OSError: they cannot be read.
    """
    for place in matching(state.quarantine, "*"):
        why: dict[str, Any] = {"run": "?", "since_ns": time.time_ns(), "tries": 1, "retry_s": 0.0}
        # if why.json is damaged, what is kept may still be whole
        with contextlib.suppress(ValueError, TypeError):
            stored = read_json(place / WHY_FILE) or {}
            why |= {
                key: stored[key] for key in why.keys() & stored.keys() if type(stored[key]) is type(why[key])
            }
        if len(place.name) == 32:
            yield Quarantine(place, why)


def discard(state: State, uid: bytes) -> None:
    """Remove what is kept of a run that was deleted. Blocks on the disk."""
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
        # Written under a temporary name, so that no start ever finds a file without its header.
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
    """Return where its valid records end; a killed worker had not written the rest in full."""
    end = segment.HEADER_BYTES
    with segment_files.mapped_view(file.path) as view:
        for item in segment.scan(view, file.uuid, base=-segment.HEADER_BYTES, start=segment.HEADER_BYTES):
            end = item.end if isinstance(item, segment.Record) else end
    return end

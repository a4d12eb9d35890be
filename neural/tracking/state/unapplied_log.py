"""How far the store has applied the log, read from the disk without the collector."""

from __future__ import annotations

import mmap
from pathlib import Path

from neural.tracking.core.files import read_json
from neural.tracking.formats import segment
from neural.tracking.formats.segment import Record
from neural.tracking.state.paths import State

STORE_CURSOR = "store.json"


def log_segments(state: State) -> list[tuple[Path, int]]:
    """Return the log's files from the store's cursor on, each with the offset of its first unapplied byte.

    Blocks briefly on the disk.
    """
    uuid, offset = _cursor(state.cursors / STORE_CURSOR)
    # A segment's name begins with its number; an incomplete segment, left by a kill, has a temporary name.
    segments = sorted(state.log.glob(f"[0-9]*-{'[0-9a-f]' * 32}.seg"))
    names = [uuid_of(path).hex() for path in segments]
    begin = names.index(uuid) if uuid in names else 0
    return [(path, offset if name == uuid else 0) for path, name in zip(segments, names, strict=True)][begin:]


def log_waits(state: State) -> bool:
    """Return whether the log holds an event or a note that the store has not applied.

    Blocks: it reads the log from the cursor to the first such record.
    """
    return any(_holds_more(path, start) for path, start in log_segments(state))


def uuid_of(path: Path) -> bytes:
    """Return the uuid of a log segment from its file name, which does not need an intact header."""
    return bytes.fromhex(path.stem.partition("-")[2])


def _holds_more(path: Path, start: int) -> bool:
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # it was applied and removed meanwhile, is another user's, or is empty
        return False
    start = max(start, segment.HEADER_BYTES)
    records = segment.scan(data, uuid_of(path), base=-segment.HEADER_BYTES, start=start)
    return any(isinstance(record, Record) and _is_of_session(record) for record in records)


def _is_of_session(record: Record) -> bool:
    """Return whether a record is a session's events or note; the record that seals a segment has no session."""
    return record.kind in (segment.BATCH, segment.NOTE) and any(record.body[:16])


def _cursor(path: Path) -> tuple[str, int]:
    """Return the position up to which the store has applied the log; its beginning if there is no cursor."""
    try:
        uuid, offset = read_json(path)["position"]
    except (OSError, ValueError, TypeError, KeyError):
        return "", 0
    return (uuid, offset) if isinstance(uuid, str) and isinstance(offset, int) else ("", 0)

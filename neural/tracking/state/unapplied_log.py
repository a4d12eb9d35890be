"""How far the store has applied the log, as someone without a collector sees it."""

from __future__ import annotations

import mmap
from pathlib import Path

from neural.tracking.core.files import read_json
from neural.tracking.formats import segment
from neural.tracking.formats.segment import Record
from neural.tracking.state.paths import State

STORE_CURSOR = "store.json"


def log_segments(state: State) -> list[tuple[Path, int]]:
    """Return the log's files from the store's cursor on, each with the byte from which it is not applied."""
    uuid, offset = _cursor(state.cursors / STORE_CURSOR)
    # Begins with its number: one that a kill left half made has a temporary name.
    segments = sorted(state.log.glob(f"[0-9]*-{'[0-9a-f]' * 32}.seg"))
    names = [uuid_of(path).hex() for path in segments]
    begin = names.index(uuid) if uuid in names else 0
    return [(path, offset if name == uuid else 0) for path, name in zip(segments, names, strict=True)][begin:]


def log_waits(state: State) -> bool:
    """Return whether the log holds an event or a note that the store has not applied.

    Blocks: on reading what lies behind the cursor, up to the first of them.
    """
    return any(_holds_more(path, start) for path, start in log_segments(state))


def uuid_of(path: Path) -> bytes:
    """Return whose records a file of the log holds, also where its header is damaged."""
    return bytes.fromhex(path.stem.partition("-")[2])


def _holds_more(path: Path, start: int) -> bool:
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # applied and removed meanwhile, or another user's; or empty
        return False
    start = max(start, segment.HEADER_BYTES)
    records = segment.scan(data, uuid_of(path), base=-segment.HEADER_BYTES, start=start)
    return any(isinstance(record, Record) and _brings_something(record) for record in records)


def _brings_something(record: Record) -> bool:
    """Whether a record is some session's events, or a note of one: the seal of a file is nobody's."""
    return record.kind in (segment.BATCH, segment.NOTE) and any(record.body[:16])


def _cursor(path: Path) -> tuple[str, int]:
    """Return up to where the store has applied the log; its beginning where nothing usable tells."""
    try:
        uuid, offset = read_json(path)["position"]
    except (OSError, ValueError, TypeError, KeyError):
        return "", 0
    return (uuid, offset) if isinstance(uuid, str) and isinstance(offset, int) else ("", 0)

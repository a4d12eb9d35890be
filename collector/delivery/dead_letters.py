"""Dead letters: events that a sink refused for good or crashed over, each with its error; one file a sink."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural.tracking.formats import event_lines
from neural.tracking.formats.event_lines import BadLine
from neural.tracking.sinks.base import RunEvent

MAX_ERROR_CHARS = 4000


def append(path: Path, event: RunEvent, error: str) -> None:
    """Append an event to the dead letters and sync the file; raises OSError."""
    letter = {
        "session": event.session,
        "run": event.run.uid,
        "name": event.run.name,
        "folder": str(event.run.folder),
        "rank": event.rank,
        "seq": event.seq,
        "time_ns": event.time_ns,
        "step": event.step,
        "kind": event.kind,
        "data": dict(event.data),
        "error": error[:MAX_ERROR_CHARS],
        "set_aside_ns": time.time_ns(),
    }
    with open(path, "ab", buffering=0, opener=_private) as file:
        file.write(event_lines.encode(letter))
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the letters, oldest first, each event once; torn and damaged lines are left out."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[tuple[str, str, int, str], dict[str, Any]] = {}
        for line in event_lines.scan(path.read_bytes()):
            if not isinstance(line, BadLine) and "set_aside_ns" in line.data:
                letter = line.data
                found[letter["run"], letter["session"], letter["seq"], letter["kind"]] = letter
        yield from found.values()


def shown(letter: dict[str, Any]) -> str:
    """Return the beginning of the event's data, for people."""
    return json.dumps(event_lines.json_value(letter["data"]), ensure_ascii=False)[:200]

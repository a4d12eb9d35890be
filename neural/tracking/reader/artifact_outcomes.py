"""Learns what becomes of artifact calls while they are waited for, by reading what events files grew by."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.formats import event_lines
from neural.tracking.formats.artifact_event import KIND
from neural.tracking.formats.event_lines import EventLine
from neural.tracking.reader.facts import event_files

_MARK = f'"note":"{KIND}"'.encode()


class Outcome(NamedTuple):
    """Whose call it was, by session and number, and what the note says of it."""

    session: str
    seq: int
    told: dict[str, Any]


class OutcomeWatch:
    """Looks again and again for notes about artifact calls; one for all calls of a tracker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._found: dict[str, Outcome] = {}

    def look(self, token: str) -> Outcome | None:
        """Return what became of the call with this token, None while nobody knows."""
        for path in () if token in self._found else event_files(self._folder):
            try:
                with path.open("rb") as file:
                    start = self._read.get(path, 0)
                    if file.seek(0, 2) < start:  # cut by a writer that begins anew
                        start = 0
                    file.seek(start)
                    data = file.read()
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]  # the rest is being written
            self._read[path] = start + len(whole)
            if _MARK in whole:
                self._take(whole)
        return self._found.get(token)

    def _take(self, data: bytes) -> None:
        for line in event_lines.scan_run(data):
            if isinstance(line, EventLine) and line.data.get("note") == KIND:
                told = line.data["data"]
                outcome = Outcome(line.data["session"], int(line.data["key"]), told)
                self._found.setdefault(str(told.get("token")), outcome)

"""Finds the outcomes of artifact calls: reads the new lines of a run's events files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from neural.tracking.formats import event_lines
from neural.tracking.formats.artifact_event import KIND
from neural.tracking.formats.event_lines import EventLine
from neural.tracking.reader.facts import event_files

_MARK = f'"note":"{KIND}"'.encode()


class Outcome(NamedTuple):
    """The outcome of a call: session and event number of the call, and the data of the note."""

    session: str
    seq: int
    note: dict[str, Any]


class OutcomeWatch:
    """Finds notes about artifact calls by polling; one instance serves all calls of a tracker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._found: dict[str, Outcome] = {}

    def poll(self, token: str) -> Outcome | None:
        """Return the outcome of the call with this token; None while it is unknown.

        Blocks on the disk: reads what was appended since the last poll. Raises OSError.
        """
        for path in () if token in self._found else event_files(self._folder):
            try:
                with path.open("rb") as file:
                    start = self._read.get(path, 0)
                    if file.seek(0, 2) < start:  # it was truncated by a writer that starts again
                        start = 0
                    file.seek(start)
                    data = file.read()
            except FileNotFoundError:
                continue
            complete = data[: data.rfind(b"\n") + 1]  # the last line is still being written
            self._read[path] = start + len(complete)
            if _MARK in complete:
                self._take(complete)
        return self._found.get(token)

    def _take(self, data: bytes) -> None:
        for line in event_lines.scan_run(data):
            if isinstance(line, EventLine) and line.data.get("note") == KIND:
                note = line.data["data"]
                outcome = Outcome(line.data["session"], int(line.data["key"]), note)
                self._found.setdefault(str(note.get("token")), outcome)

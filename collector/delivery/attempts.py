"""Records the batch being delivered, so that after a crash the next worker knows which events to suspect.

One small file. It is written before the sink is called and emptied once the sink has flushed. A worker that
finds events in it knows that its predecessor died over these events, or was killed because it hung.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

DEATHS_UNTIL_SINGLY = 3  # over one batch; after that its events are delivered one by one
DEATHS_UNTIL_DEAD_LETTER = 3  # over one event that is delivered alone; after that it is a dead letter
UNKNOWN_CAUSE = "the worker was killed, crashed, or hung in the backend's code; collector.log may tell more"


class Suspect(NamedTuple):
    """One event, by session and number."""

    session: str
    seq: int


class Attempts:
    """Counts how often a worker died over events that are not flushed.

    The file is written in place and never synced: crashes of the host do not count.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._spans: dict[str, list[int]] = {}
        self._deaths = 0
        self._single: Suspect | None = None
        self._single_deaths = 0
        self.suspects: dict[str, list[int]] = {}  # by session: first and last number to be delivered one by one
        self.last_error = ""
        self._failing = False

    def open(self) -> None:
        """Read what a predecessor left, and count its death; raises OSError."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(ValueError, TypeError, KeyError):
            left = json.loads(os.pread(self._fd, 1 << 20, 0) or b"null")
            if left is not None:
                self._count_death(left)

    def _count_death(self, left: dict[str, Any]) -> None:
        self._spans = {str(session): [int(a), int(b)] for session, (a, b) in left["spans"].items()}
        self.suspects = {str(session): [int(a), int(b)] for session, (a, b) in left["suspects"].items()}
        self._deaths = int(left["deaths"])
        if left["single"] is not None:
            self._single = Suspect(str(left["single"][0]), int(left["single"][1]))
            self._single_deaths = int(left["single_deaths"])
        self.failed(left["error"] or UNKNOWN_CAUSE, counted=bool(left["error"]))
        self._failing = False

    def close(self) -> None:
        """Close the file; a worker that leaves in good order did not die over anything."""
        if self._fd >= 0:
            if not self._failing:
                self.flushed()
            os.close(self._fd)
            self._fd = -1

    def begin(self, spans: dict[str, tuple[int, int]]) -> None:
        """Record that these events (first and last number by session) are about to be delivered."""
        for session, (first, last) in spans.items():
            known = self._spans.setdefault(session, [first, last])
            known[0], known[1] = min(known[0], first), max(known[1], last)
        self._write()

    def begin_single(self, event: Suspect) -> None:
        """Record that this event is about to be delivered alone."""
        if event != self._single:
            self._single, self._single_deaths = event, 0
        self._write()

    def failed(self, error: str, *, counted: bool = False) -> None:
        """Count a death, or an exception that is about to end the process.

        Args:
            error: what a dead letter of these events will say.
            counted: the process that died has counted it already.
        """
        self.last_error = error
        self._failing = not counted
        if counted:
            pass
        elif self._single is not None:
            self._single_deaths += 1
        elif self._spans:
            self._deaths += 1
            if self._deaths >= DEATHS_UNTIL_SINGLY:
                self.suspects, self._spans, self._deaths = self._spans, {}, 0
        self._write(error="" if counted else error)

    def flushed(self) -> None:
        """Forget what was begun: it is durable in the backend."""
        if self._spans or self._single is not None or self._deaths:
            self._spans, self._deaths, self._single, self._single_deaths = {}, 0, None, 0
            self._write()

    def mark_done(self, event: Suspect) -> None:
        """Note that the event was delivered alone, or is a dead letter; the last one clears its session."""
        span = self.suspects.get(event.session)
        if span is not None and event.seq >= span[1]:
            del self.suspects[event.session]

    def is_suspect(self, session: str, seq: int) -> bool:
        """Return whether the event belongs to a batch over which the worker died too often."""
        span = self.suspects.get(session)
        return span is not None and span[0] <= seq <= span[1]

    def is_fatal(self, event: Suspect) -> bool:
        """Return whether the worker died too often over this event alone."""
        return event == self._single and self._single_deaths >= DEATHS_UNTIL_DEAD_LETTER

    def _write(self, error: str = "") -> None:
        body = {
            "error": error,
            "spans": self._spans,
            "deaths": self._deaths,
            "suspects": self.suspects,
            "single": self._single,
            "single_deaths": self._single_deaths,
        }
        idle = self._fd < 0 or not (self._spans or self.suspects or self._single)
        data = b"" if idle else json.dumps(body).encode()
        # Write first, then cut off the rest of the older content. A kill between the two leaves a file that is
        # no JSON. It counts as empty, and that costs one more try, no more.
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

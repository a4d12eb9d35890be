"""What is being delivered, on disk while it is: so that a worker's death can be laid at the right door.

One small file, written before the sink is called and emptied once it flushed. A worker that finds it
filled knows that its predecessor died (or was killed for hanging) over these events.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

DEATHS_UNTIL_SINGLY = 3  # of a batch, then it is delivered event by event
DEATHS_UNTIL_ASIDE = 3  # of one event on its own, then it is a dead letter
UNTOLD = "the worker was killed, crashed, or hung in the backend's code; collector.log may tell more"


class Suspect(NamedTuple):
    """One event, by session and number."""

    session: str
    seq: int


class Attempts:
    """Counts deaths over unflushed events; all writes are in place and never synced: only kills matter."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._spans: dict[str, list[int]] = {}
        self._deaths = 0
        self._single: Suspect | None = None
        self._single_deaths = 0
        self.suspects: dict[str, list[int]] = {}  # to be delivered one by one
        self.last_error = ""
        self._failing = False

    def open(self) -> None:
        """Take up what a predecessor left; raises OSError."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(ValueError, TypeError, KeyError):
            left = json.loads(os.pread(self._fd, 1 << 20, 0) or b"null")
            if left is not None:
                self._take_up(left)

    def _take_up(self, left: dict[str, Any]) -> None:
        self._spans = {str(session): [int(a), int(b)] for session, (a, b) in left["spans"].items()}
        self.suspects = {str(session): [int(a), int(b)] for session, (a, b) in left["suspects"].items()}
        self._deaths = int(left["deaths"])
        if left["single"] is not None:
            self._single = Suspect(str(left["single"][0]), int(left["single"][1]))
            self._single_deaths = int(left["single_deaths"])
        self.failed(left["error"] or UNTOLD, counted=bool(left["error"]))
        self._failing = False

    def close(self) -> None:
        """Let go of the file; a worker that leaves in good order died of nothing."""
        if self._fd >= 0:
            if not self._failing:
                self.flushed()
            os.close(self._fd)
            self._fd = -1

    def begin(self, spans: dict[str, tuple[int, int]]) -> None:
        """Remember that these events are about to be delivered."""
        for session, (first, last) in spans.items():
            known = self._spans.setdefault(session, [first, last])
            known[0], known[1] = min(known[0], first), max(known[1], last)
        self._write()

    def begin_single(self, event: Suspect) -> None:
        """Remember that this event is about to be delivered on its own."""
        if event != self._single:
            self._single, self._single_deaths = event, 0
        self._write()

    def failed(self, error: str, *, counted: bool = False) -> None:
        """Count a death, or an exception that will be one; ``counted``: it was, before the process ended."""
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
        """What was begun is delivered for good."""
        if self._spans or self._single is not None or self._deaths:
            self._spans, self._deaths, self._single, self._single_deaths = {}, 0, None, 0
            self._write()

    def passed(self, event: Suspect) -> None:
        """The event was delivered on its own, or set aside."""
        span = self.suspects.get(event.session)
        if span is not None and event.seq >= span[1]:
            del self.suspects[event.session]

    def is_suspect(self, session: str, seq: int) -> bool:
        """Return whether the event belongs to a batch that was fatal too often."""
        span = self.suspects.get(session)
        return span is not None and span[0] <= seq <= span[1]

    def is_fatal(self, event: Suspect) -> bool:
        """Return whether the event on its own was fatal too often."""
        return event == self._single and self._single_deaths >= DEATHS_UNTIL_ASIDE

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
        # Longer first, then cut: a kill between the two leaves JSON with a tail of the older one behind,
        # which counts as nothing, and that only costs one more try.
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

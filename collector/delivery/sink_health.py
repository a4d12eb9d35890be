"""Reports whether a sink's backend takes events: to the supervisor, and in a file for who asks without it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural.tracking.collector.applier import Report
from neural.tracking.collector.delivery.delivery_queue import DeliveryQueue
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.core.files import read_json, write_json
from neural.tracking.errors import NotInstalledError, RetryLater, WriteAgain

REPORT_EVERY_S = 1.0


class SinkHealth:
    """Four states: ``ok``, ``retrying``, ``holding`` (single runs wait) and ``not installed``."""

    def __init__(self, name: str, file: Path, queue: DeliveryQueue, held_runs: HeldRuns) -> None:
        self._name = name
        self._file = file
        self._queue = queue
        self._held_runs = held_runs
        self._report: Report = lambda line: None
        self._reported: dict[str, Any] = {}
        self._reported_s = 0.0
        # A predecessor left in trouble. It is not over until the backend took an event, or none is queued.
        self._was_retrying = False

    def report_to(self, report: Report) -> None:
        """Take the function that sends a line to the supervisor."""
        self._report = report

    def read_previous(self) -> None:
        """Read from the file whether a predecessor left while its backend took nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._was_retrying = (read_json(self._file) or {}).get("state") == "retrying"

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Report how the calls in this context ended: whenever that changed, else once a second.

        Raises:
            SystemExit: the backend lost what it was given. A new process begins at the last commit.
        """
        try:
            yield
        except RetryLater as error:
            self._publish("not installed" if isinstance(error, NotInstalledError) else "retrying", str(error))
            if isinstance(error, WriteAgain):
                raise SystemExit(f"sink {self._name} begins again: {error}") from error
            raise
        if self._was_retrying and len(self._queue) and not self._queue.delivered_total:
            return
        self._was_retrying = False
        held = self._held_runs.summary()
        self._publish("holding" if held else "ok", held)

    def _publish(self, state: str, error: str | None) -> None:
        about = {"state": state, "error": error}
        now = time.monotonic()
        if about == self._reported and now - self._reported_s < REPORT_EVERY_S:
            return
        self._reported_s, self._reported = now, about
        body = {**about, "since_ns": self._queue.oldest_ns(), "told_ns": time.time_ns()}
        self._report({"about": {**body, "delivered_total": self._queue.delivered_total}})
        with contextlib.suppress(OSError):
            write_json(self._file, body, durable=False, mode=0o600)

"""Runs that a backend does not take now. Each waits a while and is then delivered from its folder."""

from __future__ import annotations

import time

from neural.tracking.collector.delivery.run_progress import RunProgress
from neural.tracking.errors import HoldRun, RetryLater
from neural.tracking.sink_state.progress import SinkFolder


class HeldRuns:
    """Which runs are held back, until when, and why.

    For each there is an errand on disk: a file that asks for the run to be delivered from its folder. So a held
    run is not forgotten when the process ends.
    """

    def __init__(self, folder: SinkFolder) -> None:
        self._folder = folder
        self._held: dict[str, tuple[RunProgress, float, str]] = {}

    def hold(self, run: RunProgress, error: HoldRun) -> None:
        """Hold a run back from now on; raises RetryLater where the errand cannot be written."""
        try:
            self._folder.request_delivery(run.info.uid, run.info.folder)
        except OSError as problem:
            raise RetryLater(f"cannot write to {self._folder.errands}: {problem}") from problem
        run.pass_over_undelivered()
        until_s = time.monotonic() + (error.after_s or 0.0)
        self._held[run.info.uid] = (run, until_s, f"run {run.info.label} waits: {error}")

    def reason(self, uid: str) -> str | None:
        """Return why the run is held back; None where it is not."""
        return self._held[uid][2] if uid in self._held else None

    def is_due(self, uid: str | None = None) -> bool:
        """Return whether the run, or any run, has waited long enough for another try."""
        now = time.monotonic()
        return any(until <= now for name, (_, until, _) in self._held.items() if uid in (None, name))

    def release(self, uid: str) -> None:
        """Hold the run back no more: everything that was not delivered of it is taken again."""
        if uid in self._held:
            self._held.pop(uid)[0].reset_to_delivered()

    def summary(self) -> str | None:
        """Return which runs are held back and why, for people; None where none is."""
        if not self._held:
            return None
        latest, others = next(reversed(self._held.values()))[2], len(self._held) - 1
        also = {0: "", 1: "; so does 1 more run"}.get(others, f"; so do {others} more runs")
        return latest + also

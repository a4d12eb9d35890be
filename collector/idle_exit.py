"""Decides when a collector that a training started may leave by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from neural.tracking.collector.ingest.inbox import Inbox


class IdleExit:
    """Measures for how long the collector has had nothing to do.

    Args:
        idle_exit_s: after so many idle seconds the collector may leave.
        busy: functions that return whether there is something to do; they block briefly on the disk at most.
    """

    def __init__(self, idle_exit_s: float, inbox: Inbox, busy: Sequence[Callable[[], object]]) -> None:
        self.idle_exit_s = idle_exit_s
        self._inbox = inbox
        self._busy = busy
        self._busy_s = time.monotonic()

    def may_leave(self) -> bool:
        """Return whether the collector was idle for long enough, and no sender connected at the last moment.

        Blocks briefly on the disk.
        """
        if self._is_busy():
            self._busy_s = time.monotonic()
        if time.monotonic() - self._busy_s < self.idle_exit_s:
            return False
        self._inbox.unbind()
        if not self._is_busy():
            return True
        self._inbox.rebind()
        self._busy_s = time.monotonic()
        return False

    def _is_busy(self) -> bool:
        return any(busy() for busy in self._busy)

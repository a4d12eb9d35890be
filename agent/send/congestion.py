"""Limits the bytes under way over a network of unknown speed.

The window grows after quick answers while it was in use, and shrinks after slow answers and after silence. On a
slow network, a full window would delay the next answer by minutes. The sender would then close the connection
again and again without progress.
"""

from __future__ import annotations

LEAST_BYTES, FIRST_BYTES, MOST_BYTES = 32 << 10, 256 << 10, 64 << 20
QUICK_S, SLOW_S = 0.5, 2.0


class CongestionWindow:
    """The window, which it sets by timing one batch at a time, as TCP times its segments."""

    def __init__(self) -> None:
        self.window_bytes = FIRST_BYTES
        self._timed: tuple[int, float, bool] | None = None

    @property
    def batch_bytes(self) -> int:
        """The maximum size of one batch: a quarter of the window."""
        return self.window_bytes // 4

    def sent(self, last: int, in_flight_bytes: int, now: float) -> None:
        """Note that a batch up to number ``last`` was sent at ``now``."""
        if self._timed is None:
            self._timed = (last, now, in_flight_bytes > self.window_bytes // 2)

    def acknowledged(self, last: int, now: float) -> None:
        """Note that the collector acknowledged everything up to ``last``; adapt the window."""
        if self._timed is None or last < self._timed[0]:
            return
        _, sent, in_use = self._timed
        self._timed = None
        if now - sent > SLOW_S:
            self._slow_down()
        elif now - sent < QUICK_S and in_use:
            self.window_bytes = min(2 * self.window_bytes, MOST_BYTES)

    def broken(self) -> None:
        """Shrink the window, because an answer is missing or the connection is new; drop the timing."""
        self._timed = None
        self._slow_down()

    def _slow_down(self) -> None:
        self.window_bytes = max(self.window_bytes // 2, LEAST_BYTES)

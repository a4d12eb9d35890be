"""How much may be under way over a network whose speed nobody knows.

More after answers that came quickly while the pipe was in use, less after slow ones and after silence.
On a slow line a full window would queue for minutes in front of the next sign of life, and the
connection be given up for dead again and again with nothing achieved.
"""

from __future__ import annotations

LEAST_BYTES, FIRST_BYTES, MOST_BYTES = 32 << 10, 256 << 10, 64 << 20
QUICK_S, SLOW_S = 0.5, 2.0


class CongestionWindow:
    """Times one batch at a time, as TCP times its segments."""

    def __init__(self) -> None:
        self.window_bytes = FIRST_BYTES
        self._timed: tuple[int, float, bool] | None = None

    @property
    def batch_bytes(self) -> int:
        """How large one batch may be: a few of them fill the window."""
        return self.window_bytes // 4

    def sent(self, last: int, in_flight_bytes: int, now: float) -> None:
        """A batch up to number ``last`` went off."""
        if self._timed is None:
            self._timed = (last, now, in_flight_bytes > self.window_bytes // 2)

    def acknowledged(self, last: int, now: float) -> None:
        """The collector has everything up to ``last``."""
        if self._timed is None or last < self._timed[0]:
            return
        _, sent, in_use = self._timed
        self._timed = None
        if now - sent > SLOW_S:
            self._slow_down()
        elif now - sent < QUICK_S and in_use:
            self.window_bytes = min(2 * self.window_bytes, MOST_BYTES)

    def broken(self) -> None:
        """No answer came in time, or the connection is a new one: what was timed is gone."""
        self._timed = None
        self._slow_down()

    def _slow_down(self) -> None:
        self.window_bytes = max(self.window_bytes // 2, LEAST_BYTES)

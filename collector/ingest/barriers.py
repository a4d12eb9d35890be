"""Tells a sender when the run folder holds everything up to a number: the store has applied its position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neural.tracking.collector.log.sessions import START, Position, SessionState

MAX_WAITING = 64  # per session; the oldest is dropped, and its sender's wait times out


@dataclass(eq=False)
class _Wait:
    seq: int
    reply: Callable[[], None]
    position: Position | None = None


class Barriers:
    """The barriers of all sessions that the store has not reached. Nothing here blocks for long."""

    def __init__(self, is_quarantined: Callable[[bytes], bool] = lambda uid: False) -> None:
        self.applied = START
        self._is_quarantined = is_quarantined  # then the store applies the run elsewhere than to its folder
        self._waiting: dict[SessionState, list[_Wait]] = {}

    def add(self, session: SessionState, seq: int, reply: Callable[[], None]) -> None:
        """Call ``reply`` once everything up to number ``seq`` is durable and applied by the store."""
        waits = self._waiting.setdefault(session, [])
        waits.append(_Wait(seq, reply))
        del waits[:-MAX_WAITING]
        self.on_durable(session)

    def on_durable(self, session: SessionState) -> None:
        """Check the barriers of a session whose durable mark moved."""
        for wait in self._waiting.get(session, ()):
            if wait.position is None and wait.seq <= session.durable:
                wait.position = session.position_of(wait.seq)
        self._answer(session)

    def on_applied(self, position: Position) -> None:
        """Check all barriers: the store has applied the log up to ``position``."""
        self.applied = max(self.applied, position)
        for session in list(self._waiting):
            self._answer(session)

    def recheck(self) -> None:
        """Answer the barriers of runs that are no longer in quarantine."""
        self.on_applied(self.applied)

    def forget(self, session: SessionState) -> None:
        """Drop the barriers of a session that has ended."""
        self._waiting.pop(session, None)

    def _answer(self, session: SessionState) -> None:
        waits = self._waiting.get(session, [])
        ready = [w for w in waits if w.position is not None and w.position <= self.applied]
        if ready and self._is_quarantined(session.uid):
            return
        for wait in ready:
            waits.remove(wait)
            wait.reply()
        if not waits:
            self._waiting.pop(session, None)

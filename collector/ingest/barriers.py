"""Tells senders when the run folder holds what they asked for: from number to log position to applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neural.tracking.collector.log.sessions import START, Position, SessionState

MAX_WAITING = 64  # a session; the oldest is forgotten, its sender's wait runs out by itself


@dataclass(eq=False)
class _Wait:
    seq: int
    reply: Callable[[], None]
    position: Position | None = None


class Barriers:
    """Waits of sessions for the store."""

    def __init__(self, is_held_back: Callable[[bytes], bool] = lambda uid: False) -> None:
        self.applied = START
        self._is_held_back = is_held_back  # a run the store applies somewhere else than to its folder
        self._waiting: dict[SessionState, list[_Wait]] = {}

    def add(self, session: SessionState, seq: int, reply: Callable[[], None]) -> None:
        """Call ``reply`` once everything up to ``seq`` is durable and applied by the store."""
        waits = self._waiting.setdefault(session, [])
        waits.append(_Wait(seq, reply))
        del waits[:-MAX_WAITING]
        self.on_durable(session)

    def on_durable(self, session: SessionState) -> None:
        """Look again at a session whose durable mark moved."""
        for wait in self._waiting.get(session, ()):
            if wait.position is None and wait.seq <= session.durable:
                wait.position = session.position_of(wait.seq)
        self._answer(session)

    def on_applied(self, position: Position) -> None:
        """Look again at every session: the store applied the log up to ``position``."""
        self.applied = max(self.applied, position)
        for session in list(self._waiting):
            self._answer(session)

    def look_again(self) -> None:
        """Answer those whose run is held back no longer."""
        self.on_applied(self.applied)

    def forget(self, session: SessionState) -> None:
        """Drop the waits of a session that left."""
        self._waiting.pop(session, None)

    def _answer(self, session: SessionState) -> None:
        waits = self._waiting.get(session, [])
        ready = [w for w in waits if w.position is not None and w.position <= self.applied]
        if ready and self._is_held_back(session.uid):
            return
        for wait in ready:
            waits.remove(wait)
            wait.reply()
        if not waits:
            self._waiting.pop(session, None)

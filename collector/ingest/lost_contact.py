"""Keeps an eye on sessions of other hosts: one that falls silent is noted, and so is its return.

Its status stays what it is: a cable is not the end of a training. What it logs meanwhile waits in its
outbox.
"""

from __future__ import annotations

import logging
import time

from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.log.sessions import Sessions, SessionState

logger = logging.getLogger(__name__)

LOST, BACK = "lost_contact", "contact"  # kinds of notes


class LostContacts:
    """When each session of another host was heard last."""

    def __init__(self, sessions: Sessions, sequencer: Sequencer, lost_after_s: float) -> None:
        self._sessions = sessions
        self._sequencer = sequencer
        self._lost_after_s = lost_after_s

    def heard(self, session: SessionState) -> None:
        """The session said something."""
        session.seen_s = time.monotonic()
        if session.silent:
            self._back(session)

    def greeted(self, session: SessionState, *, known: bool) -> None:
        """The session said HELLO; one the log ``known`` from before may have been noted as silent there."""
        if session.is_remote and (session.silent or known) and session.ended is None:
            self._back(session)
        session.seen_s = time.monotonic()

    def look(self) -> None:
        """Note those that have been silent for too long; called every second."""
        now_s = time.monotonic()
        for session in self._sessions.open():
            if not session.is_remote or session.silent or session.deleted:
                continue
            if now_s - session.seen_s > self._lost_after_s:
                session.silent = True
                session.peer = None
                self._note(session, LOST)
                where = session.info.get("host", "?")
                logger.warning(
                    "session %s on %s is silent since %.0f s", session.id.hex(), where, now_s - session.seen_s
                )

    def _back(self, session: SessionState) -> None:
        session.silent = False
        self._note(session, BACK)

    def _note(self, session: SessionState, kind: str) -> None:
        self._sequencer.note(session, kind, str(time.time_ns()))  # of one kind and key the store keeps one

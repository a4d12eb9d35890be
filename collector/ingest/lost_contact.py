"""Notes when a session of another host falls silent, and when it returns.

The session's status does not change: a broken cable is not the end of a training. What the training logs
meanwhile waits in its outbox.
"""

from __future__ import annotations

import logging
import time

from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.log.sessions import Sessions, SessionState

logger = logging.getLogger(__name__)

LOST_NOTE, RETURN_NOTE = "lost_contact", "contact"  # kinds of notes


class LostContacts:
    """When each session of another host sent its last message. Nothing here blocks."""

    def __init__(self, sessions: Sessions, sequencer: Sequencer, lost_after_s: float) -> None:
        self._sessions = sessions
        self._sequencer = sequencer
        self._lost_after_s = lost_after_s

    def on_message(self, session: SessionState) -> None:
        """The session sent a message."""
        session.seen_s = time.monotonic()
        if session.silent:
            self._note_return(session)

    def on_hello(self, session: SessionState, *, in_log: bool) -> None:
        """The session sent HELLO. If it was ``in_log`` before, a note in the log may say that it is silent."""
        if session.is_remote and (session.silent or in_log) and session.ended is None:
            self._note_return(session)
        session.seen_s = time.monotonic()

    def check(self) -> None:
        """Note the sessions that have been silent for too long; called every second."""
        now_s = time.monotonic()
        for session in self._sessions.open():
            if not session.is_remote or session.silent or session.deleted:
                continue
            if now_s - session.seen_s > self._lost_after_s:
                session.silent = True
                session.peer = None
                self._note(session, LOST_NOTE)
                where = session.info.get("host", "?")
                logger.warning(
                    "session %s on %s has been silent for %.0f s",
                    session.id.hex(),
                    where,
                    now_s - session.seen_s,
                )

    def _note_return(self, session: SessionState) -> None:
        session.silent = False
        self._note(session, RETURN_NOTE)

    def _note(self, session: SessionState, kind: str) -> None:
        # the store keeps one note for each kind and key
        self._sequencer.note(session, kind, str(time.time_ns()))

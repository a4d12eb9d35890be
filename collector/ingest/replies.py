"""Makes the answers to senders; ``docs/wire-protocol.md`` says what each answer means."""

from __future__ import annotations

import time
from collections.abc import Callable

from neural.tracking import __version__
from neural.tracking.collector.log.sessions import Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.formats import wire
from neural.tracking.state.tombstones import RUN_DELETED

MAX_NOTICE = 1000  # characters of a text in a head


class Replies:
    """Makes messages, and counts the refusals. Sends nothing and never blocks."""

    def __init__(
        self, log: LogWriter, sessions: Sessions, ignored_settings: Callable[[SessionState], list[str]]
    ) -> None:
        self.refused_total = 0
        self._log = log
        self._sessions = sessions
        self.ignored_settings = ignored_settings  # what the session asked for in vain, for people

    def welcome(self, session: SessionState) -> wire.Welcome:
        """Return the durable mark, from which the sender continues."""
        return wire.Welcome(
            session=session.id,
            log_id=self._log.log_id,
            last=session.durable,
            window=self._sessions.window(),
            notice="; ".join(self.ignored_settings(session))[:MAX_NOTICE],
        )

    def ack(self, session: SessionState) -> wire.Ack:
        """Return the durable mark: the sender frees its outbox up to it."""
        return wire.Ack(
            session=session.id, log_id=self._log.log_id, last=session.durable, window=self._sessions.window()
        )

    def bye_ack(self, session: SessionState) -> wire.ByeAck:
        """Confirm that the end of the session is durable."""
        return wire.ByeAck(session=session.id, log_id=self._log.log_id)

    def pong(self, session: bytes, upload_port: int) -> wire.Pong:
        """Return who answers here, and the port at which artifacts are received (0: none)."""
        return wire.Pong(session=session, version=__version__, time_ns=time.time_ns(), uploads=upload_port)

    def refusal(self, session: bytes, code: str, reason: str) -> wire.Refuse:
        """Refuse a message, with a reason for people."""
        self.refused_total += 1
        return wire.Refuse(session=session, code=code, reason=reason)

    def run_deleted(self, session: SessionState) -> wire.Refuse:
        """Refuse a session whose run was removed."""
        return self.refusal(session.id, RUN_DELETED, f"run {session.info.get('dir', '?')} was removed")

    def local_session(self, session: bytes) -> wire.Refuse:
        """Refuse a peer of another host that uses a session of this host."""
        return self.refusal(session, "not_allowed", "the session is of the collector's own host")

    def other_protocol(self, session: bytes, protocol: object) -> wire.Refuse:
        """Refuse a sender that uses another version of the protocol."""
        theirs = str(protocol)[:20]
        reason = f"this collector speaks protocol {wire.PROTOCOL}, the sender {theirs}; upgrade the older"
        return self.refusal(session, "protocol", reason)

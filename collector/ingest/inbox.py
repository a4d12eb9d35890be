"""Receives messages from senders (ROUTER) and answers them as ``docs/wire-protocol.md`` says.

A bad message harms only the peer that sent it. A message that does not decode is counted and dropped. A message
that breaks the protocol is refused. Nothing is read while the log's queue is full.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.ingest.hello_handler import HelloHandler, head_of_any_form
from neural.tracking.collector.ingest.listeners import Listeners
from neural.tracking.collector.ingest.lost_contact import LostContacts
from neural.tracking.collector.ingest.replies import Replies
from neural.tracking.collector.ingest.router import Peer, Router
from neural.tracking.collector.ingest.sequencer import Sequencer, Verdict
from neural.tracking.collector.log.sessions import Connection, Position, Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.errors import ProtocolError
from neural.tracking.formats import wire
from neural.tracking.state.tombstones import Late

logger = logging.getLogger(__name__)

TURN_S, TURN_BYTES = 0.005, 4 << 20  # how long and how much one turn takes before the event loop goes on
_WARN_EVERY_S = 10.0

Handler = Callable[[SessionState, Any], wire.Message | None]  # returns the answer, None for no answer now


class Inbox:
    """A part of the daemon: the ROUTER sockets that senders connect to. It runs on the event loop."""

    name = "inbox"

    def __init__(
        self,
        listeners: Listeners,
        sequencer: Sequencer,
        log: LogWriter,
        sessions: Sessions,
        barriers: Barriers,
        contacts: LostContacts,
        on_hello: Callable[[SessionState], None],
        ignored_settings: Callable[[SessionState], list[str]] = lambda session: [],
    ) -> None:
        self._listeners = listeners
        self._sequencer = sequencer
        self._log = log
        self._sessions = sessions
        self._barriers = barriers
        self._contacts = contacts
        self._replies = Replies(log, sessions, ignored_settings)
        self._hello = HelloHandler(
            sequencer,
            sessions,
            contacts,
            self._replies,
            send=self._send,
            welcome=self._welcome,
            on_hello=on_hello,
        )
        self._handlers: dict[type[wire.Message], Handler] = {
            wire.Data: self._on_data,
            wire.GapNotice: self._on_gap,
            wire.Bye: self._on_bye,
            wire.Barrier: self._on_barrier,
            wire.Alive: self._on_alive,
            wire.Died: self._on_died,
        }
        self._to_acknowledge: set[SessionState] = set()  # once the log has written the current group
        self._tasks: list[asyncio.Task[None]] = []
        self._warned_s = -_WARN_EVERY_S

    @property
    def refused_total(self) -> int:
        """How many messages were refused or could not be decoded."""
        return self._replies.refused_total

    async def start(self) -> None:
        """Bind the sockets and start to receive.

        Raises:
            zmq.ZMQError: this host's own address cannot be bound.
            ConfigError: the address for other hosts cannot be bound.
        """
        self._listeners.open()
        for router in self._listeners.routers:
            self._tasks.append(asyncio.create_task(self._receive_forever(router), name="inbox"))

    def unbind(self) -> None:
        """Accept no new connections. Never blocks."""
        self._listeners.unbind()

    def rebind(self) -> None:
        """Accept connections again. Never blocks; raises as :meth:`start`."""
        self._listeners.rebind()

    async def drain(self, deadline: float) -> int:
        """Receive nothing new; messages under way stay in the outboxes. Answers are sent until `close`."""
        if self._tasks:
            self.unbind()
            tasks = [*self._tasks, *self._hello.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks = []
        return 0

    def close(self) -> None:
        """Close the sockets, after the last acknowledgement was sent. Never blocks."""
        self._listeners.close()

    def on_durable(self, session: SessionState) -> None:
        """Note that a session's durable mark moved: acknowledge it with the group, and check its barriers."""
        self._to_acknowledge.add(session)
        self._barriers.on_durable(session)

    def on_committed(self, position: Position) -> None:
        """Send the acknowledgements of a group that is on disk: one a session, for any number of batches."""
        for session in self._to_acknowledge:
            self._send(session.peer, self._replies.ack(session))
        self._to_acknowledge.clear()

    async def refuse_run(self, uid: bytes) -> None:
        """Tell the senders of a run that was just removed to stop. Waits for the disk; raises OSError."""
        for session in self._sequencer.forget_run(uid):
            if session.ended is None:  # the total is known when the outbox ends
                late = Late.of(session.info, session.received)
                await asyncio.to_thread(self._sequencer.removals.account, session.id, uid, late)
            if session.peer is not None:
                self._send(session.peer, self._replies.run_deleted(session))

    def receive(self, peer: Peer, parts: list[bytes]) -> None:
        """Handle one message, and send its answer if it has one now. Never blocks."""
        try:
            message = wire.decode(parts)
        except ProtocolError as error:
            self._warn(error)
            reply = self._other_protocol(parts)
        else:
            reply = self._reply(peer, message)
        self._send(peer, reply)

    async def wait_for_hellos(self) -> None:
        """Wait until every HELLO that was received is answered."""
        await asyncio.gather(*self._hello.tasks)

    async def _receive_forever(self, router: Router) -> None:
        while True:
            await router.readable()
            await self._log.wait_for_queue_room()
            started, taken = time.monotonic(), 0
            while taken < TURN_BYTES and time.monotonic() - started < TURN_S:
                received = router.receive_from()
                if received is None:
                    break
                peer, parts = received
                taken += sum(map(len, parts))
                self.receive(peer, parts)
            await asyncio.sleep(0)

    def _reply(self, peer: Peer, message: wire.Message) -> wire.Message | None:
        session_id = getattr(message, "session", bytes(16))
        via = self._listeners.name_of(peer)
        if via is None:
            reason = f"its key is not allowed (any more): {peer.key}"
            return self._replies.refusal(session_id, "not_allowed", reason)
        if isinstance(message, wire.Hello):
            return self._hello.handle(peer, message, via)
        if isinstance(message, wire.Ping):
            return self._replies.pong(message.session, self._listeners.upload_port())
        handler = self._handlers.get(type(message))
        if handler is None:
            self._warn(ProtocolError(f"{message.type} is for senders to receive"))
            return None
        session = self._sessions.get(session_id)
        if session is None or not session.hello_received:
            return self._replies.refusal(session_id, "unknown_session", "say HELLO first")
        if via and not session.is_remote:
            return self._replies.local_session(session_id)
        if session.deleted:
            return self._replies.run_deleted(session)
        session.peer = peer
        self._contacts.on_message(session)
        return handler(session, message)

    def _on_data(self, session: SessionState, data: wire.Data) -> wire.Message | None:
        if wire.data_crc(data.schemas, data.payload) != data.crc:
            logger.warning("batch %d-%d of session %s arrived damaged", data.first, data.last, session.id.hex())
            self._welcome(session)  # the sender cuts the batch anew and sends it again
            return None
        return self._verdict_reply(
            session,
            self._sequencer.data(session, data.first, data.last, data.base, data.schemas, data.payload),
        )

    def _on_gap(self, session: SessionState, gap: wire.GapNotice) -> wire.Message | None:
        return self._verdict_reply(session, self._sequencer.gap(session, gap.first, gap.last, gap.reason))

    def _on_bye(self, session: SessionState, bye: wire.Bye) -> None:
        peer = session.peer

        def ended() -> None:
            self._send(peer, self._replies.bye_ack(session))
            self._barriers.forget(session)
            session.peer = None

        if self._sequencer.bye(session, bye.n, ended) is Verdict.OUT_OF_ORDER:
            self._welcome(session)

    def _on_barrier(self, session: SessionState, barrier: wire.Barrier) -> None:
        visible = wire.Visible(session=session.id, token=barrier.token)
        self._barriers.add(session, barrier.seq, lambda: self._send(session.peer, visible))

    def _on_alive(self, session: SessionState, alive: wire.Alive) -> None:
        """Do nothing more: every message shows that the sender is alive."""

    def _on_died(self, session: SessionState, died: wire.Died) -> None:
        if session.ended is None:
            self._sequencer.note_death(session, died.reason, died.signal or None, died.open_gap or None)

    def _verdict_reply(self, session: SessionState, verdict: Verdict) -> wire.Message | None:
        if verdict is Verdict.REPEATED:
            return self._replies.ack(session)
        if verdict is Verdict.INVALID:
            return self._replies.refusal(session.id, "bad_data", "the batch does not follow the protocol")
        if verdict is Verdict.OUT_OF_ORDER:
            self._welcome(session)
        return None

    def _welcome(self, session: SessionState) -> None:
        """Send the durable mark once what is queued is durable: the sender goes on from there."""

        def send(_: Position) -> None:
            self._send(session.peer, self._replies.welcome(session))

        if self._log.disk_error:
            send(self._log.durable)  # the disk may be full for long; what is sent again counts once
        else:
            self._log.after_sync(send)

    def _send(self, peer: Connection | None, message: wire.Message | None) -> None:
        """Send a message; no other method does. Nothing is sent without a peer or a message."""
        if peer is not None and message is not None:
            peer.send(message.encode())

    def _other_protocol(self, parts: list[bytes]) -> wire.Message | None:
        """Return the answer to a HELLO of another protocol version, whatever its form; to others None."""
        head = head_of_any_form(parts[0]) if parts else {}
        if head.get("t") != "hello" or head.get("protocol") == wire.PROTOCOL:
            return None
        session = head.get("session")
        session_id = session if isinstance(session, bytes) and len(session) == 16 else bytes(16)
        return self._replies.other_protocol(session_id, head.get("protocol"))

    def _warn(self, error: ProtocolError) -> None:
        """Count a message that was not understood; log that every ten seconds at most."""
        self._replies.refused_total += 1
        if time.monotonic() - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = time.monotonic()
            logger.warning(
                "%d messages were refused or not understood, the last: %s", self.refused_total, error
            )

"""The mouth of the daemon: what senders say over ZeroMQ, and the answers of ``docs/wire-protocol.md``.

Nothing a peer sends may do more than cost it its answer: what does not decode is counted and
dropped, what does not fit is refused, and reading stops while the log's queue is full.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable

from neural.tracking import __version__
from neural.tracking.collector.ingest import hello
from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.ingest.listeners import Listeners
from neural.tracking.collector.ingest.lost_contact import LostContacts
from neural.tracking.collector.ingest.router import Peer, Router
from neural.tracking.collector.ingest.sequencer import Refused, Sequencer, Verdict
from neural.tracking.collector.log.sessions import VIA, Connection, Position, Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.errors import ProtocolError
from neural.tracking.formats import wire
from neural.tracking.state.tombstones import RUN_DELETED, Late

logger = logging.getLogger(__name__)

TURN_S, TURN_BYTES = 0.005, 4 << 20  # how long and how much one turn takes before the loop goes round
_COMPLAIN_S = 10.0
MAX_NOTICE = 1000  # what a text in a head may have


class Inbox:
    """A part of the daemon: the ROUTER sockets senders connect to."""

    name = "inbox"

    def __init__(
        self,
        doors: Listeners,
        intake: Sequencer,
        log: LogWriter,
        sessions: Sessions,
        barriers: Barriers,
        contacts: LostContacts,
        on_greeted: Callable[[SessionState], None],
        unheeded: Callable[[SessionState], list[str]] = lambda session: [],
    ) -> None:
        self.refused_total = 0
        self._doors = doors
        self._intake = intake
        self._log = log
        self._sessions = sessions
        self._barriers = barriers
        self._contacts = contacts
        self._on_greeted = on_greeted
        self._unheeded = unheeded  # what the session asked for and does not get, for people
        self._dirty: set[SessionState] = set()  # to be acknowledged after the group in hand
        self._greeting: dict[bytes, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._complained_s = -_COMPLAIN_S

    async def start(self) -> None:
        """Bind and begin to receive."""
        self._doors.open()
        for router in self._doors.routers:
            self._tasks.append(asyncio.create_task(self._receive_forever(router), name="inbox"))

    def unbind(self) -> None:
        """Let no new sender connect."""
        self._doors.unbind()

    def rebind(self) -> None:
        """Let senders connect again."""
        self._doors.rebind()

    async def drain(self, deadline: float) -> int:
        """Take nothing new; what is on its way stays in the outboxes. Answers go on until closed."""
        if self._tasks:
            self.unbind()
            tasks = [*self._tasks, *self._greeting.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks = []
        return 0

    def close(self) -> None:
        """Close the sockets, after the last acknowledgement."""
        self._doors.close()

    def on_durable(self, session: SessionState) -> None:
        """A session's durable mark moved: acknowledge with the group, look after its barriers."""
        self._dirty.add(session)
        self._barriers.on_durable(session)

    def on_committed(self, position: Position) -> None:
        """A group is on disk: one acknowledgement a session, however many batches it was."""
        for session in self._dirty:
            self._acknowledge(session)
        self._dirty.clear()

    async def refuse_run(self, uid: bytes) -> None:
        """Tell the senders of a run that was just removed to stop."""
        for session in self._intake.forget_run(uid):
            if session.ended is None:  # how much it will have been, its outbox tells when it is over
                late = Late.of(session.info, session.received)
                await asyncio.to_thread(self._intake.removals.account, session.id, uid, late)
            if session.peer is not None:
                self._refuse_deleted(session.peer, session)

    async def _receive_forever(self, router: Router) -> None:
        while True:
            await router.readable()
            await self._log.room()
            started, taken = time.monotonic(), 0
            while taken < TURN_BYTES and time.monotonic() - started < TURN_S:
                received = router.receive_from()
                if received is None:
                    break
                peer, parts = received
                taken += sum(map(len, parts))
                self._take(peer, parts)
            await asyncio.sleep(0)

    def _take(self, peer: Peer, parts: list[bytes]) -> None:
        via = self._doors.name_of(peer)
        try:
            message = wire.decode(parts)
        except ProtocolError as error:
            self._complain(peer, parts, error)
            return
        if via is None:
            reason = f"its key is not allowed (any more): {peer.key}"
            self._refuse(peer, getattr(message, "session", bytes(16)), "not_allowed", reason)
        elif isinstance(message, wire.Hello):
            self._on_hello(peer, message, via)
        elif isinstance(message, wire.Ping):
            now, port = time.time_ns(), self._doors.upload_port()
            pong = wire.Pong(session=message.session, version=__version__, time_ns=now, uploads=port)
            peer.send(pong.encode())
        elif isinstance(message, wire.Data | wire.GapNotice | wire.Bye | wire.Barrier | wire.Alive | wire.Died):
            session = self._sessions.get(message.session)
            if session is None or not session.greeted:
                self._refuse(peer, message.session, "unknown_session", "say HELLO first")
            elif via and not session.is_remote:
                self._refuse(peer, session.id, "not_allowed", "the session is of the collector's own host")
            elif session.deleted:
                self._refuse_deleted(peer, session)
            else:
                session.peer = peer
                self._contacts.heard(session)
                self._on_message(session, message)
        else:
            self._complain(peer, parts, ProtocolError(f"{message.type} is for senders to hear"))

    def _on_message(self, session: SessionState, message: wire.Message) -> None:
        if isinstance(message, wire.Data):
            self._on_data(session, message)
        elif isinstance(message, wire.GapNotice):
            self._answer(session, self._intake.gap(session, message.first, message.last, message.reason))
        elif isinstance(message, wire.Bye):
            self._on_bye(session, message)
        elif isinstance(message, wire.Barrier):
            visible = wire.Visible(session=session.id, token=message.token)
            self._barriers.add(session, message.seq, lambda: self._send(session, visible))
        elif isinstance(message, wire.Died) and session.ended is None:
            self._intake.note_death(session, message.reason, message.signal or None, message.open_gap or None)

    def _on_hello(self, peer: Peer, said: wire.Hello, via: str) -> None:
        if said.protocol != wire.PROTOCOL:
            self._refuse_protocol(peer, said.session, said.protocol)
        elif reason := hello.unfit(said):
            self._refuse(peer, said.session, "bad_hello", reason)
        elif said.session not in self._greeting:
            info = {key: value for key, value in said.info.items() if key not in (VIA, wire.EMITTED)}
            emitted = said.info.get(wire.EMITTED)
            said = dataclasses.replace(said, info=info | ({VIA: via} if via else {}))
            task = asyncio.create_task(self._greet(peer, said, emitted), name="greet")
            self._greeting[said.session] = task
            task.add_done_callback(lambda _: self._greeting.pop(said.session, None))

    async def _greet(self, peer: Peer, said: wire.Hello, emitted: object) -> None:
        known = self._sessions.get(said.session)
        if VIA in said.info and known is not None and not known.is_remote:
            self._refuse(peer, said.session, "not_allowed", "the session is of the collector's own host")
            return
        try:
            session = await self._opened(said, emitted)
        except Refused as refused:
            self._refuse(peer, said.session, refused.code, str(refused))
            return
        except OSError as error:  # it says HELLO again, and keeps what it has
            logger.warning("session %s was not answered: %s", said.session.hex(), error)
            return
        self._contacts.greeted(session, known=known is not None and not session.greeted)
        session.peer = peer
        if not session.greeted:
            for text in self._unheeded(session):
                name, via = session.info.get("name"), session.info.get(VIA)
                logger.warning("run %s_%s of %s: %s", name, session.uid.hex()[:8], via, text)
        session.greeted = True
        self._on_greeted(session)
        self._welcome(session)

    async def _opened(self, said: wire.Hello, emitted: object) -> SessionState:
        """Take a session in; of one whose run was removed, write down what it emitted before it may let go.

        Raises:
            Refused: it is not taken.
            OSError: that could not be written down, or the run's tombstone not be read.
        """
        try:
            return await self._intake.open(said.session, said.uid, said.info)
        except Refused as refused:
            if refused.code == RUN_DELETED:
                known = self._sessions.get(said.session)
                late = Late.of(said.info, 0 if known is None else known.received)
                if isinstance(emitted, int) and 0 <= emitted <= wire.MAX_NUMBER:
                    late = Late.of(said.info, emitted, exact=True)
                await asyncio.to_thread(self._intake.removals.account, said.session, said.uid, late)
            raise

    def _on_data(self, session: SessionState, data: wire.Data) -> None:
        if wire.data_crc(data.schemas, data.payload) != data.crc:
            logger.warning(
                "batch %d-%d of session %s was damaged on its way", data.first, data.last, session.id.hex()
            )
            self._welcome(session)  # cut and send it again
            return
        verdict = self._intake.data(session, data.first, data.last, data.base, data.schemas, data.payload)
        self._answer(session, verdict)

    def _on_bye(self, session: SessionState, bye: wire.Bye) -> None:
        peer = session.peer

        def ended() -> None:
            if peer is not None:
                peer.send(wire.ByeAck(session=session.id, log_id=self._log.log_id).encode())
            self._barriers.forget(session)
            session.peer = None

        if self._intake.bye(session, bye.n, ended) is Verdict.OUT_OF_ORDER:
            self._welcome(session)

    def _answer(self, session: SessionState, verdict: Verdict) -> None:
        if verdict is Verdict.REPEATED:
            self._acknowledge(session)
        elif verdict is Verdict.OUT_OF_ORDER:
            self._welcome(session)
        elif verdict is Verdict.UNFIT and session.peer is not None:
            self._refuse(session.peer, session.id, "bad_data", "the batch does not follow the protocol")

    def _welcome(self, session: SessionState) -> None:
        """Tell the durable mark, after what is queued became durable, so that the sender cuts right."""

        def tell(_: Position) -> None:
            welcome = wire.Welcome(
                session=session.id,
                log_id=self._log.log_id,
                last=session.durable,
                window=self._sessions.window(),
                notice="; ".join(self._unheeded(session))[:MAX_NOTICE],
            )
            self._send(session, welcome)

        if self._log.trouble:
            tell(self._log.durable)  # it may take long; what is sent again counts once
        else:
            self._log.after_sync(tell)

    def _acknowledge(self, session: SessionState) -> None:
        ack = wire.Ack(
            session=session.id,
            log_id=self._log.log_id,
            last=session.durable,
            window=self._sessions.window(),
        )
        self._send(session, ack)

    def _send(self, session: SessionState, message: wire.Message) -> None:
        if session.peer is not None:
            session.peer.send(message.encode())

    def _refuse(self, peer: Connection, session: bytes, code: str, reason: str) -> None:
        self.refused_total += 1
        peer.send(wire.Refuse(session=session, code=code, reason=reason).encode())

    def _refuse_deleted(self, peer: Connection, session: SessionState) -> None:
        self._refuse(peer, session.id, RUN_DELETED, f"run {session.info.get('dir', '?')} was removed")

    def _refuse_protocol(self, peer: Peer, session: bytes, spoken: object) -> None:
        reason = (
            f"this collector speaks protocol {wire.PROTOCOL}, the sender {str(spoken)[:20]}; upgrade the older"
        )
        self._refuse(peer, session, "protocol", reason)

    def _complain(self, peer: Peer, parts: list[bytes], error: ProtocolError) -> None:
        """Count what does not decode; answer only a HELLO of another protocol, whatever its form is."""
        self.refused_total += 1
        head = hello.head_of_any_form(parts[0]) if parts else {}
        session = head.get("session")
        if head.get("t") == "hello" and head.get("protocol") != wire.PROTOCOL:
            known = session if isinstance(session, bytes) and len(session) == 16 else bytes(16)
            self._refuse_protocol(peer, known, head.get("protocol"))
        if time.monotonic() - self._complained_s >= _COMPLAIN_S:
            self._complained_s = time.monotonic()
            logger.warning("%d messages were not understood, the last: %s", self.refused_total, error)

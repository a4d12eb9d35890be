"""The mouth of the daemon: what senders say over ZeroMQ, and the answers of ``docs/wire-protocol.md``.

Nothing a peer sends may do more than cost it its answer: what does not decode is counted and
dropped, what does not fit is refused, and reading stops while the log's queue is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from neural.tracking import wire
from neural.tracking.collector.barriers import Barriers
from neural.tracking.collector.intake import Intake, Refused, Verdict
from neural.tracking.collector.log import Log
from neural.tracking.collector.sessions import Position, Session, Sessions
from neural.tracking.collector.sockets import Router
from neural.tracking.errors import FormatError, ProtocolError
from neural.tracking.events import unpack_map
from neural.tracking.names import check_run_name
from neural.tracking.state import State

logger = logging.getLogger(__name__)

TURN_S, TURN_BYTES = 0.005, 4 << 20  # how long and how much one turn takes before the loop goes round
_COMPLAIN_S = 10.0


class Inbox:
    """A part of the daemon: the ROUTER socket senders connect to."""

    name = "inbox"

    def __init__(
        self,
        listen: Callable[[], Router],
        state: State,
        intake: Intake,
        log: Log,
        sessions: Sessions,
        barriers: Barriers,
        on_greeted: Callable[[Session], None],
    ) -> None:
        self.refused_total = 0
        self._listen = listen
        self._state = state
        self._intake = intake
        self._log = log
        self._sessions = sessions
        self._barriers = barriers
        self._on_greeted = on_greeted
        self._router: Router | None = None
        self._dirty: set[Session] = set()  # to be acknowledged after the group in hand
        self._greeting: dict[bytes, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._complained_s = -_COMPLAIN_S

    async def start(self) -> None:
        """Bind and begin to receive."""
        self._router = self._listen()
        self._router.bind(self._state.data_socket)
        self._task = asyncio.create_task(self._receive_forever(), name="inbox")

    def unbind(self) -> None:
        """Let no new sender connect."""
        if self._router is not None:
            self._router.unbind()

    def rebind(self) -> None:
        """Let senders connect again."""
        if self._router is not None:
            self._router.bind(self._state.data_socket)

    async def drain(self, deadline: float) -> int:
        """Take nothing new; what is on its way stays in the outboxes. Answers go on until closed."""
        if self._task is not None:
            self.unbind()
            for task in (self._task, *self._greeting.values()):
                task.cancel()
            await asyncio.gather(self._task, *self._greeting.values(), return_exceptions=True)
            self._task = None
        return 0

    def close(self) -> None:
        """Close the socket, after the last acknowledgement."""
        if self._router is not None:
            self._router.close()

    def on_durable(self, session: Session) -> None:
        """A session's durable mark moved: acknowledge with the group, look after its barriers."""
        self._dirty.add(session)
        self._barriers.on_durable(session)

    def on_committed(self, position: Position) -> None:
        """A group is on disk: one acknowledgement a session, however many batches it was."""
        for session in self._dirty:
            self._acknowledge(session)
        self._dirty.clear()

    def refuse_run(self, uid: bytes) -> None:
        """Tell the senders of a deleted run to stop."""
        for session in self._intake.forget_run(uid):
            if session.identity is not None:
                self._refuse(session.identity, session.id, "run_deleted", f"run {uid.hex()[:8]} was deleted")

    async def _receive_forever(self) -> None:
        assert self._router is not None
        while True:
            await self._router.readable()
            await self._log.room()
            started, taken = time.monotonic(), 0
            while taken < TURN_BYTES and time.monotonic() - started < TURN_S:
                parts = self._router.receive()
                if parts is None:
                    break
                taken += sum(map(len, parts))
                self._take(parts[0], parts[1:])
            await asyncio.sleep(0)

    def _take(self, identity: bytes, parts: list[bytes]) -> None:
        try:
            message = wire.decode(parts)
        except ProtocolError as error:
            self._complain(identity, parts, error)
            return
        if isinstance(message, wire.Hello):
            self._on_hello(identity, message)
        elif isinstance(message, wire.Data | wire.GapNotice | wire.Bye | wire.Barrier):
            session = self._sessions.get(message.session)
            if session is None or not session.greeted:
                self._refuse(identity, message.session, "unknown_session", "say HELLO first")
            elif session.deleted:
                self._refuse(identity, session.id, "run_deleted", f"run {session.uid.hex()[:8]} was deleted")
            else:
                session.identity = identity
                self._on_message(session, message)
        else:
            self._complain(identity, parts, ProtocolError(f"{message.type} is for senders to hear"))

    def _on_message(self, session: Session, message: wire.Message) -> None:
        if isinstance(message, wire.Data):
            self._on_data(session, message)
        elif isinstance(message, wire.GapNotice):
            self._answer(session, self._intake.gap(session, message.first, message.last, message.reason))
        elif isinstance(message, wire.Bye):
            self._on_bye(session, message)
        elif isinstance(message, wire.Barrier):
            visible = wire.Visible(session=session.id, token=message.token)
            self._barriers.add(session, message.seq, lambda: self._send(session, visible))

    def _on_hello(self, identity: bytes, hello: wire.Hello) -> None:
        if hello.protocol != wire.PROTOCOL:
            self._refuse_protocol(identity, hello.session, hello.protocol)
        elif reason := _unfit_info(hello):
            self._refuse(identity, hello.session, "bad_hello", reason)
        elif hello.session not in self._greeting:
            task = asyncio.create_task(self._greet(identity, hello), name="greet")
            self._greeting[hello.session] = task
            task.add_done_callback(lambda _: self._greeting.pop(hello.session, None))

    async def _greet(self, identity: bytes, hello: wire.Hello) -> None:
        try:
            session = await self._intake.open(hello.session, hello.uid, hello.info)
        except Refused as refused:
            self._refuse(identity, hello.session, refused.code, str(refused))
            return
        session.identity = identity
        session.greeted = True
        self._on_greeted(session)
        self._welcome(session)

    def _on_data(self, session: Session, data: wire.Data) -> None:
        if wire.data_crc(data.schemas, data.payload) != data.crc:
            logger.warning(
                "batch %d-%d of session %s was damaged on its way", data.first, data.last, session.id.hex()
            )
            self._welcome(session)  # cut and send it again
            return
        verdict = self._intake.data(session, data.first, data.last, data.base, data.schemas, data.payload)
        self._answer(session, verdict)

    def _on_bye(self, session: Session, bye: wire.Bye) -> None:
        identity = session.identity

        def ended() -> None:
            if identity is not None and self._router is not None:
                answer = wire.ByeAck(session=session.id, log_id=self._log.log_id)
                self._router.send(identity, answer.encode())
            self._barriers.forget(session)
            session.identity = None

        if self._intake.bye(session, bye.n, ended) is Verdict.OUT_OF_ORDER:
            self._welcome(session)

    def _answer(self, session: Session, verdict: Verdict) -> None:
        if verdict is Verdict.REPEATED:
            self._acknowledge(session)
        elif verdict is Verdict.OUT_OF_ORDER:
            self._welcome(session)
        elif verdict is Verdict.UNFIT and session.identity is not None:
            self._refuse(session.identity, session.id, "bad_data", "the batch does not follow the protocol")

    def _welcome(self, session: Session) -> None:
        """Tell the durable mark, after what is queued became durable, so that the sender cuts right."""

        def tell(_: Position) -> None:
            welcome = wire.Welcome(
                session=session.id,
                log_id=self._log.log_id,
                last=session.durable,
                window=self._sessions.window(),
            )
            self._send(session, welcome)

        if self._log.trouble:
            tell(self._log.durable)  # it may take long; what is sent again counts once
        else:
            self._log.after_sync(tell)

    def _acknowledge(self, session: Session) -> None:
        ack = wire.Ack(
            session=session.id,
            log_id=self._log.log_id,
            last=session.durable,
            window=self._sessions.window(),
        )
        self._send(session, ack)

    def _send(self, session: Session, message: wire.Message) -> None:
        if session.identity is not None and self._router is not None:
            self._router.send(session.identity, message.encode())

    def _refuse(self, identity: bytes, session: bytes, code: str, reason: str) -> None:
        self.refused_total += 1
        if self._router is not None:
            self._router.send(identity, wire.Refuse(session=session, code=code, reason=reason).encode())

    def _refuse_protocol(self, identity: bytes, session: bytes, spoken: object) -> None:
        reason = (
            f"this collector speaks protocol {wire.PROTOCOL}, the sender {str(spoken)[:20]}; upgrade the older"
        )
        self._refuse(identity, session, "protocol", reason)

    def _complain(self, identity: bytes, parts: list[bytes], error: ProtocolError) -> None:
        """Count what does not decode; answer only a HELLO of another protocol, whatever its form is."""
        self.refused_total += 1
        head = _head_of_any_form(parts[0]) if parts else {}
        session = head.get("session")
        if head.get("t") == "hello" and head.get("protocol") != wire.PROTOCOL:
            known = session if isinstance(session, bytes) and len(session) == 16 else bytes(16)
            self._refuse_protocol(identity, known, head.get("protocol"))
        if time.monotonic() - self._complained_s >= _COMPLAIN_S:
            self._complained_s = time.monotonic()
            logger.warning("%d messages were not understood, the last: %s", self.refused_total, error)


def _head_of_any_form(part: bytes) -> dict[str, Any]:
    """Return a head's map; another protocol's may come without the checksum. Empty where it is damaged."""
    try:
        return wire.unpack_head(part)
    except ProtocolError:
        with contextlib.suppress(FormatError):
            return unpack_map(part[: wire.MAX_HEAD_BYTES])
    return {}


def _unfit_info(hello: wire.Hello) -> str:
    """Return why a HELLO's description cannot be used, empty if it can."""
    name = hello.info.get("name")
    if not isinstance(name, str):
        return "info must hold the run's name"
    try:
        check_run_name(name)
    except ValueError as error:
        return str(error)
    if hello.info.get("dir") != f"{name}_{hello.uid.hex()[:8]}":
        return "info must hold the run's folder, its name and the first 8 digits of its uid"
    return ""

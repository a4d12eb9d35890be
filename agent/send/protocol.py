"""The sender's side of the wire protocol: what it sends, and what it does at answers.

See ``docs/wire-protocol.md``. Only the sender's thread runs this. It owns no socket: the caller connects, and
passes a link to :meth:`SenderProtocol.start`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from neural.tracking.agent.send.congestion import CongestionWindow
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.outbox_reader import Shipment
from neural.tracking.core.warn import warn
from neural.tracking.formats import wire
from neural.tracking.state.tombstones import RUN_DELETED

LATE_S = 0.3
SILENCE_S = 2.0  # without an answer that is due, send HELLO again
GIVE_UP_S = 10.0  # without a WELCOME, close the link
REFUSED_S, NOT_ALLOWED_S = 60.0, 5.0
REPEATED_WELCOME_S = 1.0
ALIVE_S = 15.0  # without a message to another host, send ALIVE


class Channel(Protocol):
    """A link to the collector."""

    def send(self, message: wire.Message) -> bool:
        """Send a message; return False if the link takes none now. Never blocks."""


class SenderProtocol:
    """The protocol state of one session, over successive links. No method blocks.

    Args:
        delivery: the requests of callers, and the status that they read.
        session: 16 bytes.
        hello: returns the HELLO of this session.
        records: the session's SCHEMA records so far; only grows.
        pace: the congestion window to another host; None for this host.
    """

    def __init__(
        self,
        delivery: DeliveryState,
        session: bytes,
        hello: Callable[[], wire.Hello],
        records: list[bytes],
        pace: CongestionWindow | None = None,
    ) -> None:
        self.welcomed = False
        self.quiet_until = 0.0  # after a refusal, send no HELLO before this time
        self._blocked = False  # the link took no message at the last attempt
        self._delivery = delivery
        self._session, self._hello, self._records = session, hello, records
        self._pace = pace
        self._link: Channel | None = None
        self._sent_at = 0.0
        self._log_id = b""
        self._window = 0
        self._schemas_sent = 0
        self._gap: Shipment | None = None
        self._window_was_full = False  # the window had no room for the last batch
        self._bye_sent = self._hello_sent = False
        self._rewound_to, self._rewound_at = -1, 0.0
        self._due_since: float | None = None  # since when an answer is due
        self._silent_since = 0.0
        self._warned: set[str] = set()

    def start(self, link: Channel, now: float) -> None:
        """Start over a new link."""
        self._link = link
        self._blocked = False
        self._silent_since = now
        self._restart()

    def reconnected(self, now: float) -> None:
        """Start again after an automatic reconnect, which may have lost messages."""
        self._silent_since = now
        self._broken()
        self._restart()

    def stop(self) -> None:
        """Drop the link, and with it the refusals of its collector."""
        self._link = None
        self.welcomed = False
        self.quiet_until = 0.0
        self._delivery.status = "connecting"

    def hello_waits(self, now: float) -> bool:
        """Return whether a HELLO must be sent and the link has not taken it yet."""
        return not self._hello_sent and now >= self.quiet_until

    @property
    def can_continue(self) -> bool:
        """Whether the window stopped the last batch and half of it is free again.

        Only then answers trigger batches; otherwise each answer would send a batch of very few events.
        """
        stream = self._delivery.stream
        return self._window_was_full and stream is not None and 2 * stream.in_flight_bytes < self._window_now

    @property
    def needs_no_answer(self) -> bool:
        """Whether nothing waits for the collector's next message, so that it may be read a little later."""
        delivery = self._delivery
        calm = self.welcomed and not self._window_was_full and self._pace is None
        return calm and not delivery.requests and delivery.bye is None

    def send_due(self, now: float) -> None:
        """Send what is due, as far as window and link allow: HELLO, gaps, batches, barriers, BYE, ALIVE."""
        if self._link is None or self._delivery.stream is None or self._delivery.deleted:
            return
        if self.hello_waits(now):
            self._hello_sent = self._send(self._hello(), now)
        if not self.welcomed or not self._send_gap(now):
            return
        self._ship(now)
        for request in list(self._delivery.requests.values()):
            if not request.sent and request.seq <= self._delivery.stream.sent:
                barrier = wire.Barrier(session=self._session, seq=request.seq, token=request.token)
                request.sent = self._send(barrier, now)
        if (
            self._delivery.bye is not None
            and not self._bye_sent
            and self._delivery.stream.acknowledged >= self._delivery.bye
            and self._send_death(now)
        ):
            self._bye_sent = self._send(wire.Bye(session=self._session, n=self._delivery.bye), now)
        if self._pace is not None and now - self._sent_at > ALIVE_S:
            self._send(wire.Alive(session=self._session), now)

    def handle(self, message: wire.Message, now: float) -> None:
        """Process one message of the collector; ignore a message for another session."""
        if getattr(message, "session", None) != self._session or self._delivery.stream is None:
            return
        self._silent_since = now
        if isinstance(message, wire.Ack):
            if message.log_id == self._log_id and self.welcomed:
                self._window = message.window
                self._delivery.stream.acknowledge(message.last)
                if self._pace is not None:
                    self._pace.acknowledged(message.last, now)
        elif isinstance(message, wire.Welcome):
            self._on_welcome(message, now)
        elif isinstance(message, wire.Visible):
            request = self._delivery.requests.pop(message.token, None)
            if request is not None:
                request.done.set()
        elif isinstance(message, wire.ByeAck):
            self._delivery.closed.set()
        elif isinstance(message, wire.Refuse):
            self._on_refuse(message, now)
        due = self._delivery.stream.in_flight or (self._bye_sent and not self._delivery.closed.is_set())
        self._due_since = now if due or (self._hello_sent and not self.welcomed) else None

    def is_stalled(self, now: float) -> bool:
        """Return whether the collector may be gone: an answer is late, or the link takes nothing."""
        late = self._due_since is not None and now - self._due_since > LATE_S
        return late or self._blocked or not self.welcomed

    def check_silence(self, now: float) -> bool:
        """Have HELLO sent again after 2 s of silence; return True once the link should be closed."""
        due = self._due_since
        waiting = any(request.sent for request in self._delivery.requests.values())
        if due is None and waiting and now - self._silent_since > 2 * SILENCE_S:
            due = self._silent_since
        if due is not None and now - due > SILENCE_S:
            self._due_since = now
            self._broken()
            self._restart()
        if not self.welcomed and now >= self.quiet_until:
            return now - self._silent_since > GIVE_UP_S
        return False

    @property
    def _window_now(self) -> int:
        """The limit of unacknowledged bytes: what the collector grants, and the congestion window."""
        return self._window if self._pace is None else min(self._window, self._pace.window_bytes)

    def _broken(self) -> None:
        if self._pace is not None:
            self._pace.broken()

    def _restart(self) -> None:
        """Have HELLO sent at the next call of :meth:`send_due`."""
        self.welcomed = self._hello_sent = False

    def _send(self, message: wire.Message, now: float) -> bool:
        sent = self._link is not None and self._link.send(message)
        self._blocked = not sent
        if sent:
            self._sent_at = now
        if sent and self._due_since is None and not isinstance(message, wire.Barrier | wire.Alive):
            self._due_since = now
        return sent

    def _send_death(self, now: float) -> bool:
        """Report how the process ended, if it is gone; return whether that was sent or is not needed."""
        death = self._delivery.death
        if death is None:
            return True
        died = wire.Died(
            session=self._session,
            reason=death.reason,
            signal=death.signal or 0,
            open_gap=death.open_gap or "",
        )
        return self._send(died, now)

    def _on_welcome(self, message: wire.Welcome, now: float) -> None:
        assert self._delivery.stream is not None
        if self.welcomed:  # not the answer to a HELLO
            if message.log_id != self._log_id or message.last > self._delivery.stream.sent:
                return
            # The collector answers each batch that arrives too early by a WELCOME; one rewind is enough.
            if message.last == self._rewound_to and now - self._rewound_at < REPEATED_WELCOME_S:
                return
        self.welcomed, self._delivery.status = True, "connected"
        self._log_id, self._window = message.log_id, message.window
        self._rewound_to, self._rewound_at = message.last, now
        self._schemas_sent = 0
        self._bye_sent = False
        for request in self._delivery.requests.values():
            request.sent = False
        self._gap = self._delivery.stream.rewind(message.last)
        if message.notice and message.notice not in self._warned:
            self._warned.add(message.notice)
            warn("the collector took this session, but: %s", message.notice)

    def _on_refuse(self, message: wire.Refuse, now: float) -> None:
        self._restart()
        if message.code == "unknown_session":
            return
        if message.code == RUN_DELETED:
            self._delivery.give_up()
        self._delivery.status = f"refused: {message.reason}"
        self.quiet_until = now + (NOT_ALLOWED_S if message.code == "not_allowed" else REFUSED_S)
        if message.code not in self._warned:
            self._warned.add(message.code)
            deleted = message.code == RUN_DELETED
            rest = "nothing that this process logs to it is kept" if deleted else "the data stays in its outbox"
            warn("the collector refused this session: %s; %s", message.reason, rest)

    def _send_gap(self, now: float) -> bool:
        """Report the events that the outbox no longer has; return whether nothing more must be reported."""
        gap = self._gap
        if gap is None:
            return True
        if not self._send_gap_notice(gap, "log_lost", now):
            return False
        self._gap = None
        return True

    def _send_gap_notice(self, gap: Shipment, reason: str, now: float) -> bool:
        notice = wire.GapNotice(session=self._session, first=gap.first, last=gap.last, reason=reason)
        if not self._send(notice, now):
            return False
        assert self._delivery.stream is not None
        self._delivery.stream.shipped(gap)
        if (lost := (gap.first, gap.last, reason)) not in self._delivery.lost:
            self._delivery.lost.append(lost)
        return True

    def _ship(self, now: float) -> None:
        stream = self._delivery.stream
        assert stream is not None
        self._window_was_full = False
        while True:
            room = max(self._window_now - stream.in_flight_bytes, 0)
            found = stream.cut(room if self._pace is None else min(room, self._pace.batch_bytes))
            if found is None:
                return
            shipment, payload = found
            if not payload:
                if not self._send_gap_notice(shipment, shipment.reason, now):
                    return
                continue
            if stream.in_flight and stream.in_flight_bytes + shipment.size_bytes > self._window_now:
                self._window_was_full = True
                return
            known = len(self._records)
            schemas = b"".join(self._records[self._schemas_sent : known])
            data = wire.Data(
                session=self._session,
                first=shipment.first,
                last=shipment.last,
                base=shipment.start,
                crc=wire.data_crc(schemas, payload),
                schemas=schemas,
                payload=payload,
            )
            if not self._send(data, now):
                return
            self._schemas_sent = known
            stream.shipped(shipment)
            if self._pace is not None:
                self._pace.sent(shipment.last, stream.in_flight_bytes, now)

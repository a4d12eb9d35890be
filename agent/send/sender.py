"""The sender: one thread a session that ships the outbox to the collector and frees acknowledged segments.

It polls, since waking it from a log call would cost that call 10 µs and more: every 50 ms under load, 100 ms
below 1,000 events a second, 200 ms below 200; at once when a segment is full or a caller flushes. It must never
die or disturb the training: every failure gives one warning and another attempt, and the data waits in the
outbox.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.local_route import RECONNECT_S, Route
from neural.tracking.agent.send.upkeep import Upkeep
from neural.tracking.core import fork_lock, os_support
from neural.tracking.core.times import jittered
from neural.tracking.core.warn import warn

if TYPE_CHECKING:
    from neural.tracking.agent.send.dealer import Dealer
    from neural.tracking.agent.send.protocol import SenderProtocol

BUSY_S, CALM_S, IDLE_S = 0.05, 0.1, 0.2
CALM_EVENTS_PER_S, IDLE_EVENTS_PER_S = 1000, 200
FAILED_S = 1.0
BEGIN_S = 0.03


class Sender:
    """Ships one session in a thread of its own; ``wake`` wakes the thread.

    Args:
        delivery: the state that it shares with callers.
        make_protocol: returns the protocol state; called in the thread, because its imports are slow.
        make_outbox: creates an outbox that is missing; called again until it succeeds.
        route: the way to the collector.
    """

    def __init__(
        self,
        emitter: Emitter,
        delivery: DeliveryState,
        make_protocol: Callable[[], SenderProtocol],
        make_outbox: Callable[[], None],
        route: Route,
    ) -> None:
        self.wake = os_support.Wake()
        self._emitter, self._delivery = emitter, delivery
        self._make_protocol = make_protocol
        self._protocol: SenderProtocol | None = None
        self._upkeep = Upkeep(emitter, make_outbox)
        self._route = route
        self._link: Dealer | None = None
        self._stopping = False
        self._warned = False
        self._next_poll = self._connect_at = 0.0
        self._seen, self._seen_at = 0, time.monotonic()
        self._is_idle = False
        self._thread: threading.Thread | None = None

    @property
    def hopeless(self) -> bool:
        """Whether no collector can be reached until a person corrects the settings."""
        return self._route.hopeless

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: no thread can start, because the interpreter is shutting down, is a subinterpreter
                without threads, or the system allows no more threads.
        """
        thread = threading.Thread(target=self._run, name="ntrack-sender", daemon=True)  # this may raise, too
        thread.start()
        self._thread = thread

    @property
    def runs(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; return whether it ended within ``timeout_s`` seconds, for which this blocks at most.

        Events that were not shipped remain in the outbox.
        """
        self._stopping = True
        self.wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        ended = not self.runs
        if ended:
            self.wake.close()
        return ended

    def _run(self) -> None:
        with fork_lock.held_off:
            import select  # noqa: F401 - for waiting; must not be imported while another thread forks

        # The imports that follow take some 30 ms; the constructor of the session should return before them.
        self.wake.wait(BEGIN_S)
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - no failure may reach the training
                if not self._warned:
                    warn("sender failed and tries again every second: %r", error, with_traceback=True)
                    self._warned = True
                self._disconnect(FAILED_S)
                self._next_poll = time.monotonic() + FAILED_S
        self._disconnect(0.0)
        self._route.close()

    def _turn(self) -> None:
        """Wait for a message, a wake-up or the next poll, then do the work that is due."""
        if self._protocol is None:
            with fork_lock.held_off:
                self._protocol = self._make_protocol()
        woken = self._wait(self._protocol, max(0.0, self._next_poll - time.monotonic()))
        with fork_lock.held_off:
            self._work(self._protocol, woken, time.monotonic())

    def _work(self, protocol: SenderProtocol, woken: bool, now: float) -> None:
        if self._link is not None:
            for message in self._link.receive():
                protocol.handle(message, now)
            if self._route.watch(self._link, now):
                protocol.reconnected(now)
        poll = woken or now >= self._next_poll
        if poll:
            self._upkeep.run(self._delivery.stream, now)
            self._next_poll = now + self._tick(now)
        if self._link is None and now >= max(self._connect_at, protocol.quiet_until):
            self._connect(protocol, now)
        if self._link is not None:
            if poll or not protocol.welcomed or protocol.can_continue:
                protocol.send_due(now)
            if poll and protocol.is_stalled(now) and self._route.is_gone():
                self._disconnect(0.0)
            elif protocol.check_silence(now):
                self._disconnect(RECONNECT_S)

    def _wait(self, protocol: SenderProtocol, timeout_s: float) -> bool:
        if self._link is not None and not (self._is_idle and protocol.needs_no_answer):
            for_room = protocol.hello_waits(time.monotonic())
            woken = self._link.wait(self.wake.fd, timeout_s, for_room=for_room)
        elif self._link is not None:
            # Saves half of the wake-ups: an acknowledgement is read at the next poll.
            woken = self.wake.wait(timeout_s)
        else:
            until = max(0.0, self._connect_at - time.monotonic())
            woken = self.wake.wait(min(timeout_s, until) or timeout_s)
        if woken:
            self.wake.clear()
        return woken

    def _tick(self, now: float) -> float:
        """Return the time until the next poll, by the number of events since the last one."""
        emitted = self._emitter.head[1]
        new, passed = emitted - self._seen, now - self._seen_at
        self._seen, self._seen_at = emitted, now
        self._is_idle = new < IDLE_EVENTS_PER_S * passed or new == 0
        if self._is_idle:
            return IDLE_S
        return CALM_S if new < CALM_EVENTS_PER_S * passed else BUSY_S

    def _connect(self, protocol: SenderProtocol, now: float) -> None:
        """Connect to the collector, if one can be reached now."""
        data_waits = self._data_waits() and not self._delivery.deleted
        self._link = self._route.connect(now, data_waits=data_waits)
        if self._link is None:
            self._connect_at = self._route.next_try
        else:
            protocol.start(self._link, now)

    def _data_waits(self) -> bool:
        stream = self._delivery.stream
        return self._emitter.emitted > (stream.acknowledged if stream is not None else 0)

    def _disconnect(self, wait_s: float) -> None:
        self._connect_at = time.monotonic() + jittered(wait_s)
        if self._protocol is not None:
            self._protocol.stop()
        link, self._link = self._link, None
        if link is not None:
            link.close()

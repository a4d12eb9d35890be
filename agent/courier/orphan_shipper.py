"""Ships one orphan to the remote collector that its session named."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from neural.tracking import __version__
from neural.tracking.agent.courier.orphan_outbox import OrphanOutbox
from neural.tracking.agent.send.congestion import CongestionWindow
from neural.tracking.agent.send.delivery_state import DeliveryState
from neural.tracking.agent.send.local_route import RECONNECT_S
from neural.tracking.agent.send.protocol import SenderProtocol
from neural.tracking.agent.send.remote_route import RemoteRoute
from neural.tracking.core import os_support
from neural.tracking.core.address import check_address
from neural.tracking.core.process_end import Death
from neural.tracking.core.times import jittered
from neural.tracking.errors import ConfigError, FormatError
from neural.tracking.formats import wire
from neural.tracking.state.outbox_end import ends
from neural.tracking.state.outbox_files import Orphan

if TYPE_CHECKING:
    from neural.tracking.agent.send.dealer import Dealer
    from neural.tracking.agent.send.outbox_reader import OutboxReader

TURN_S = 0.2


def ship(
    orphan: Orphan, death: Callable[[], Death], stop: threading.Event, report: Callable[[str], None]
) -> bool:
    """Ship a whole orphan and the end of its session; return whether the outbox may be removed.

    Args:
        orphan: the caller holds its lock.
        death: returns how its process ended; called only if the session has no end event.
        stop: set it to make this return soon, with False.
        report: called with what prevents delivery, whenever that changes; with "" if nothing does.

    Raises:
        FormatError: the outbox names no valid collector.
        OSError: the outbox cannot be read.

    Blocks: until everything is delivered, the collector reports the run as deleted, or ``stop`` is set.
    """
    return _OrphanDelivery(orphan, death, report).run(stop)


class _OrphanDelivery:
    def __init__(self, orphan: Orphan, death: Callable[[], Death], report: Callable[[str], None]) -> None:
        try:
            address = check_address("collector", orphan.info.get("collector"))
        except ConfigError as error:
            raise FormatError(f"{orphan.folder}: {error}") from error
        if address is None:
            raise FormatError(f"{orphan.folder} does not name its collector")
        self._orphan, self._death, self._report = orphan, death, report
        self._stream = OrphanOutbox(orphan)
        self._delivery = DeliveryState()
        self._delivery.stream = cast("OutboxReader", self._stream)  # has all that the protocol uses
        self._protocol = SenderProtocol(
            self._delivery, orphan.session, self._hello, [orphan.schemas()], CongestionWindow()
        )
        self._route = RemoteRoute(address, self._delivery, orphan.folder, None)
        self._link: Dealer | None = None
        self._connect_at = 0.0
        self._reported = ""
        self._wake = os_support.Wake()  # Dealer.wait needs one; it is never set

    def run(self, stop: threading.Event) -> bool:
        try:
            while not stop.is_set():
                self._turn(time.monotonic())
                if self._delivery.closed.is_set() or self._delivery.deleted:
                    return True
            return False
        finally:
            if self._link is not None:
                self._link.close()
            self._wake.close()

    def _turn(self, now: float) -> None:
        problem = self._delivery.problem or ("" if self._protocol.welcomed else self._delivery.status)
        if problem != self._reported and not problem.startswith("connect"):
            self._reported = problem
            self._report(problem)
        if self._link is None:
            self._connect(now)
            return
        self._link.wait(self._wake.fd, TURN_S, for_room=self._protocol.hello_waits(now))
        for message in self._link.receive():
            self._protocol.handle(message, now)
        if self._route.watch(self._link, now):
            self._protocol.reconnected(now)
        if self._protocol.welcomed and self._stream.is_empty:
            self._request_end()
        self._protocol.send_due(now)
        if self._protocol.check_silence(now) or self._route.is_gone():
            self._disconnect()

    def _connect(self, now: float) -> None:
        if now >= max(self._connect_at, self._protocol.quiet_until):
            self._link = self._route.connect(now, data_waits=True)
            self._connect_at = self._route.next_try
        if self._link is None:
            time.sleep(TURN_S)
        else:
            self._protocol.start(self._link, now)

    def _disconnect(self) -> None:
        assert self._link is not None
        self._protocol.stop()
        self._link.close()
        self._link = None
        self._connect_at = time.monotonic() + jittered(RECONNECT_S)

    def _request_end(self) -> None:
        """Request the end of the session, with the cause of death if it has no end event."""
        if self._delivery.bye is None:
            emitted = self._orphan.emitted
            self._delivery.bye = max(emitted, self._stream.acknowledged)
            if not ends(self._orphan, emitted, self._stream.newest):
                self._delivery.death = self._death()

    def _hello(self) -> wire.Hello:
        orphan = self._orphan
        return wire.Hello(
            protocol=wire.PROTOCOL,
            version=__version__,
            session=orphan.session,
            uid=orphan.uid,
            info={**orphan.info, wire.EMITTED: orphan.emitted},
        )

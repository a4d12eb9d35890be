"""The route to a collector on another host: connects with the user's keys, and warns once of each problem."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.agent.send.local_route import CourierStarter
from neural.tracking.core.warn import warn
from neural.tracking.errors import ConfigError
from neural.tracking.remote import keys

if TYPE_CHECKING:
    from neural.tracking.agent.send.dealer import Dealer
    from neural.tracking.agent.send.delivery_state import DeliveryState

KEYLESS_S = 5.0  # before the next check for keys
UNREACHABLE_S = 5.0
REFUSED_S = 2.0  # before a new link; ZeroMQ does not try again on its own
_warned: set[tuple[str, str]] = set()  # addresses and kinds of problem: one warning a process
BROKEN_TIMES = 3  # one interrupted handshake looks like a wrong key, so count several


class RemoteRoute:
    """The route to the collector at one address.

    Args:
        address: checked, ``tcp://host:port``.
        waits_in: the folder in which events wait, named in every warning.
        courier_starter: keeps the courier of this host running; None in the courier itself, and offline.
    """

    def __init__(
        self, address: str, delivery: DeliveryState, waits_in: Path, courier_starter: CourierStarter | None
    ) -> None:
        self.next_try = 0.0
        self.hopeless = False
        self._address, self._delivery, self._waits_in, self._courier_starter = (
            address,
            delivery,
            waits_in,
            courier_starter,
        )
        self._connections = 0  # number of connections of the present link
        self._broken = 0
        self._refused_at = 0.0  # time of a refusal of the present link, 0 without one
        self._down_since = time.monotonic()

    def connect(self, now: float, *, data_waits: bool) -> Dealer | None:
        """Return a new link, which connects in the background; None if there are no valid keys.

        Raises:
            OSError: no courier could be started, or too few file descriptors are left.
        """
        from neural.tracking.agent.send.dealer import Dealer

        self._check_courier(now)
        try:
            security = keys.client_security(self._address)
        except (ConfigError, OSError) as error:
            self.next_try = now + KEYLESS_S
            self._report("no key", str(error))
            return None
        self._connections = self._broken = 0
        self._refused_at = 0.0
        return Dealer(self._address, security)

    def watch(self, link: Dealer, now: float) -> bool:
        """Read the connection's events, and report problems; return whether ZeroMQ has reconnected the link."""
        from neural.tracking.remote.sockets import BROKEN, REFUSED, UP

        reconnected = False
        for event in link.connection_events():
            if event == UP:
                self._connections += 1
                self._broken = 0
                self._delivery.problem = ""
                reconnected = self._connections > 1
            elif event == REFUSED:
                self._refused_at = now
                public = keys.public_text(keys.client_security(self._address).pair.public)
                refused = f"does not allow this key; on its host: `ntrack keys allow NAME {public}`"
                self._report("refused", f"the collector at {self._address} {refused}")
            elif event == BROKEN:
                self._broken += 1
        if self._broken >= BROKEN_TIMES:
            self._report("wrong key", self._wrong_key())
        self._check_reachable(link, now)
        self._check_courier(now)
        return reconnected

    def is_gone(self) -> bool:
        """Return whether the link must be replaced: after a refusal; otherwise it reconnects on its own."""
        return 0.0 < self._refused_at < time.monotonic() - REFUSED_S

    def close(self) -> None:
        """Release the courier's launch lock."""
        if self._courier_starter is not None:
            self._courier_starter.close()

    def _check_reachable(self, link: Dealer, now: float) -> None:
        if link.is_up:
            self._down_since = now
        elif now - self._down_since > UNREACHABLE_S and not self._delivery.problem:
            self._report("unreachable", f"no collector can be reached at {self._address}")

    def _wrong_key(self) -> str:
        return (
            f"the process at {self._address} does not have the key that is noted for it here; if the "
            f"collector has a new one: `ntrack keys trust {self._address} <its key>`"
        )

    def _report(self, kind: str, text: str) -> None:
        """Record a problem of delivery, and warn of it the first time in this process."""
        self._delivery.problem = text
        if (self._address, kind) not in _warned:
            _warned.add((self._address, kind))
            warn("%s; until then events wait in %s", text, self._waits_in)

    def _check_courier(self, now: float) -> None:
        if self._courier_starter is not None:
            self._courier_starter.start_if_missing(now)

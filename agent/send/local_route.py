"""Where the sender finds its collector: on this host, where it may have to be started, or on another.

Used by the sender's thread alone, which imports ZeroMQ and the keys only there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from neural.tracking.agent.send.launcher import Launcher, collector_of, courier_of
from neural.tracking.core.files import read_json
from neural.tracking.core.times import jittered
from neural.tracking.core.warn import warn
from neural.tracking.state.paths import State

if TYPE_CHECKING:
    from neural.tracking.agent.send.dealer import Dealer

RECONNECT_S = 0.5
STARTING_S = 0.05  # between looks for a collector that was just started
MIN_LAUNCH_S, MAX_LAUNCH_S = 1.0, 60.0
COURIER_LOOK_S = 5.0
OTHERS_S = 5.0  # before it is looked again whether the state folder is this user's own
_said: set[str] = set()  # not by each of many sessions


class Route(Protocol):
    """A way to a collector. ``next_try`` is when to call ``connect`` again after it gave None.

    ``hopeless``: nobody will be there before a person has mended something.
    """

    next_try: float

    @property
    def hopeless(self) -> bool: ...

    def connect(self, now: float, *, data_waits: bool) -> Dealer | None:
        """Return a fresh link, or None where there is nobody to talk to yet."""

    def watch(self, link: Dealer, now: float) -> bool:
        """Look after a link in use; return whether it was connected anew behind our back."""

    def is_gone(self) -> bool:
        """Return whether whom we connected to has left, or another has taken its place."""

    def close(self) -> None:
        """Let go of everything."""


class LocalRoute:
    """To the collector of this host's state folder; started where none runs and data waits."""

    def __init__(self, state: State, *, launches: bool) -> None:
        self.next_try = 0.0
        self._state = state
        self._launcher = Launcher(collector_of(state)) if launches else None
        self._endpoint: object = None
        self._launch_at = 0.0
        self._launch_wait_s = MIN_LAUNCH_S

    @property
    def hopeless(self) -> bool:
        return self._launcher is not None and self._launcher.hopeless and not self._state.collector_runs()

    def connect(self, now: float, *, data_waits: bool) -> Dealer | None:
        if self._launcher is not None:
            self._launcher.settle()
        if (reason := self._state.not_own_reason()) is not None:
            self.next_try = now + OTHERS_S
            if reason not in _said:
                _said.add(reason)
                warn("what is logged waits in its outbox, nobody is connected to: %s", reason)
            return None
        endpoint = self._read_endpoint()
        address = endpoint.get("data") if isinstance(endpoint, dict) else None
        if isinstance(address, str) and self._state.collector_runs():
            from neural.tracking.agent.send.dealer import Dealer

            self._endpoint = endpoint
            self._launch_wait_s = MIN_LAUNCH_S
            return Dealer(address)
        self.next_try = now + RECONNECT_S
        if self._launcher is not None and data_waits:
            if not self._launcher.starting and now >= self._launch_at:
                self._launch_at = now + jittered(self._launch_wait_s)
                self._launch_wait_s = min(2 * self._launch_wait_s, MAX_LAUNCH_S)
                self._launcher.launch()
            if self._launcher.starting:
                self.next_try = now + STARTING_S
        return None

    def watch(self, link: Dealer, now: float) -> bool:
        return False

    def is_gone(self) -> bool:
        return self._read_endpoint() != self._endpoint or not self._state.collector_runs()

    def close(self) -> None:
        if self._launcher is not None:
            self._launcher.close()

    def _read_endpoint(self) -> object:
        try:
            return read_json(self._state.endpoint_file)
        except (OSError, ValueError):
            return None


class Watchful:
    """Sees to it that a courier is there for the day this process is not."""

    def __init__(self, state: State) -> None:
        self._launcher = Launcher(courier_of(state))
        self._look_at, self._wait_s = 0.0, COURIER_LOOK_S

    def look(self, now: float) -> None:
        """Start a courier if none runs; the more seldom the more often that was in vain."""
        if now < self._look_at:
            return
        self._launcher.settle()
        before = self._launcher.launched
        self._launcher.launch()
        if self._launcher.launched > max(before, 1):
            self._wait_s = min(2 * self._wait_s, MAX_LAUNCH_S)
        self._look_at = now + jittered(self._wait_s)

    def close(self) -> None:
        """Let others start one."""
        self._launcher.close()

"""The route to the collector of this host, which it starts if necessary; and what all routes share.

Only the sender's thread uses a route, so only that thread imports ZeroMQ and the keys.
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
STARTING_S = 0.05  # between two checks for a collector that was just started
MIN_LAUNCH_S, MAX_LAUNCH_S = 1.0, 60.0
COURIER_CHECK_S = 5.0
FOREIGN_FOLDER_S = 5.0  # before the next check whether the state folder belongs to this user
_warned: set[str] = set()  # warnings are given once a process, not by each session


class Route(Protocol):
    """A way to a collector. ``next_try`` is the time to call ``connect`` again after it returned None."""

    next_try: float

    @property
    def hopeless(self) -> bool:
        """Whether no collector can be reached until a person corrects the settings."""

    def connect(self, now: float, *, data_waits: bool) -> Dealer | None:
        """Return a new link, or None if no collector can be connected to now. Does not wait for one."""

    def watch(self, link: Dealer, now: float) -> bool:
        """Check a link in use; return whether ZeroMQ has reconnected it. Never blocks."""

    def is_gone(self) -> bool:
        """Return whether the connected collector has left, or another one has taken its place."""

    def close(self) -> None:
        """Release the launch lock."""


class LocalRoute:
    """The route to the collector of a local state folder; with ``launches`` it starts one if data waits."""

    def __init__(self, state: State, *, launches: bool) -> None:
        self.next_try = 0.0
        self._state = state
        self._launcher = Launcher(collector_of(state)) if launches else None
        self._endpoint: object = None
        self._launch_at = 0.0
        self._launch_wait_s = MIN_LAUNCH_S

    @property
    def hopeless(self) -> bool:
        """Whether no collector runs, and none can start with the present settings."""
        return self._launcher is not None and self._launcher.hopeless and not self._state.collector_runs()

    def connect(self, now: float, *, data_waits: bool) -> Dealer | None:
        """Return a link to the running collector; otherwise start one if data waits, and return None.

        Raises:
            OSError: no process could be started.
        """
        if self._launcher is not None:
            self._launcher.settle()
        if (reason := self._state.not_own_reason()) is not None:
            self.next_try = now + FOREIGN_FOLDER_S
            if reason not in _warned:
                _warned.add(reason)
                warn("events wait in the outbox, and no collector is used: %s", reason)
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
        """Return False: a reconnect to a local collector is not reported."""
        return False

    def is_gone(self) -> bool:
        """Return whether the collector has left, or another one has taken its place; reads one small file."""
        return self._read_endpoint() != self._endpoint or not self._state.collector_runs()

    def close(self) -> None:
        """Release the launch lock."""
        if self._launcher is not None:
            self._launcher.close()

    def _read_endpoint(self) -> object:
        try:
            return read_json(self._state.endpoint_file)
        except (OSError, ValueError):
            return None


class CourierStarter:
    """Keeps a courier running, which delivers what this process leaves when it ends."""

    def __init__(self, state: State) -> None:
        self._launcher = Launcher(courier_of(state))
        self._check_at, self._wait_s = 0.0, COURIER_CHECK_S

    def start_if_missing(self, now: float) -> None:
        """Start a courier if none runs and a check is due; repeated starts get growing pauses.

        Raises:
            OSError: no process could be started.
        """
        if now < self._check_at:
            return
        self._launcher.settle()
        before = self._launcher.launched
        self._launcher.launch()
        if self._launcher.launched > max(before, 1):
            self._wait_s = min(2 * self._wait_s, MAX_LAUNCH_S)
        self._check_at = now + jittered(self._wait_s)

    def close(self) -> None:
        """Release the launch lock."""
        self._launcher.close()

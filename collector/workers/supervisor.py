"""Runs the workers: starts each when there is something for it, restarts it when it dies, lets it go when idle.

A worker is told durable positions on its stdin and tells applied and synced ones on its stdout, JSON
lines both ways. Its stdin closing is how it is asked to leave. Which workers there are may change at
any time: :meth:`Supervisor.set_workers`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from neural.tracking.collector.log.sessions import START, Position, Sessions
from neural.tracking.collector.workers.sink_roster import named_sinks
from neural.tracking.collector.workers.specs import STORE, VISUALIZER, WorkerSpec, builtin_specs
from neural.tracking.collector.workers.worker_handle import WorkerHandle
from neural.tracking.core import interpreter
from neural.tracking.core.files import read_json
from neural.tracking.formats import segment
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import any_quarantined

logger = logging.getLogger(__name__)

IDLE_S = 30.0  # how long a worker stays with nothing to do


def worker_command(spec: WorkerSpec, state: State) -> list[str]:
    """Return how a worker is spawned; ``-P`` keeps a user's own ``queue.py`` out."""
    module = "neural.tracking.collector.workers.worker"
    places = ["--base-dir", str(state.base_dir), "--state", str(state.root)]
    return [spec.python or interpreter.to_start(), "-P", "-m", module, spec.name, *places]


class Supervisor:
    """A part of the daemon: the workers."""

    name = "supervisor"

    def __init__(
        self,
        state: State,
        sessions: Sessions,
        *,
        specs: Iterable[WorkerSpec] | None = None,
        locate: Callable[[bytes], int | None],
        on_applied: Callable[[Position], None],
        command: Callable[[WorkerSpec, State], list[str]] = worker_command,
        idle_s: float = IDLE_S,
    ) -> None:
        self.durable = START
        self._state = state
        self._sessions = sessions
        self._locate = locate  # from a segment's uuid to its ordinal, None if the log has no such segment
        self._on_applied = on_applied
        self._command = command
        self._idle_s = idle_s
        wanted = builtin_specs() if specs is None else specs
        self._keepers = {spec.name: WorkerHandle(spec, self) for spec in wanted}
        self._tasks: dict[WorkerHandle, asyncio.Task[None]] = {}
        self._named: set[str] = set()  # sinks that a session the log still carries is for by name
        self._started = self._leaving = False

    @property
    def state_root(self) -> Path:
        """Where the state folder is."""
        return self._state.root

    async def start(self) -> None:
        """Begin to keep workers; none is spawned before there is something to do."""
        self._started = True
        for keeper in self._keepers.values():
            self._keep(keeper)

    def set_workers(self, specs: Iterable[WorkerSpec]) -> None:
        """Keep exactly these workers from now on.

        A new one begins at its cursor, one that is not named leaves, and one whose version changed is
        started anew.
        """
        wanted = {spec.name: spec for spec in specs}
        for name, keeper in list(self._keepers.items()):
            if name not in wanted or wanted[name].version != keeper.spec.version:
                keeper.retire()
                del self._keepers[name]
        for name, spec in wanted.items():
            known = self._keepers.get(name)
            if known is not None:
                known.spec = spec
                continue
            keeper = self._keepers[name] = WorkerHandle(spec, self)
            self._find_place(keeper)
            if self._started and not self._leaving:
                self._keep(keeper)

    def _keep(self, keeper: WorkerHandle) -> None:
        task = asyncio.create_task(keeper.keep(), name=f"worker {keeper.name}")
        self._tasks[keeper] = task
        task.add_done_callback(lambda _: self._tasks.pop(keeper, None))

    def log_known(self, durable: Position) -> None:
        """Read how far each worker came; possible once the log knows its segments."""
        self.durable = durable
        for keeper in self._keepers.values():
            self._find_place(keeper)
            self.moved(keeper)

    def _find_place(self, keeper: WorkerHandle) -> None:
        cursor = self.read_cursor(keeper.name)
        if self.durable.ordinal == 1 and self.durable.offset == segment.HEADER_BYTES:
            cursor = self.durable  # a log in which nothing was ever written needs no reading
        keeper.applied = keeper.synced = cursor
        keeper.owes = keeper.name == VISUALIZER and self._state.pictures_due.exists()

    async def drain(self, deadline: float) -> int:
        """Let the store finish what is durable, then ask all to leave; return whether it is behind.

        A backend that is down is no reason to wait, nor something left undone: its part stays in the log.
        """
        store = self._keepers.get(STORE)
        while store is not None and time.monotonic() < deadline and store.running and store.behind():
            await asyncio.sleep(0.02)
        self._leaving = True
        for keeper in list(self._tasks):
            keeper.retire()
        if self._tasks:
            patience = max(0.5, deadline - time.monotonic())
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return int(store is not None and store.behind())

    def on_committed(self, position: Position) -> None:
        """The log is durable up to here: the workers may read it."""
        self.durable = position
        for keeper in self._keepers.values():
            keeper.wake.set()

    def synced(self) -> Position:
        """Return what every cursor that the log waits for has durably passed."""
        waited_for = (k.synced for k in self._keepers.values() if self._holds(k))
        return min(waited_for, default=START)

    def _holds(self, keeper: WorkerHandle) -> bool:
        return keeper.spec.holds_log and not keeper.detached and self._concerned(keeper)

    def _concerned(self, keeper: WorkerHandle) -> bool:
        """Return whether the log can hold anything for the worker."""
        if not keeper.spec.named_only:
            return True
        return keeper.name in self._named

    def review(self, beyond_bytes: Callable[[Position], int]) -> None:
        """Look which sinks sessions name; let go of workers over a budget: of waiting log, or of memory."""
        self._named = {name for session in self._sessions for name in named_sinks(session)}
        for keeper in self._keepers.values():
            spec, now = keeper.spec, time.monotonic()
            if not self._concerned(keeper) or keeper.synced >= self.durable:
                keeper.moved_s = keeper.caught_up_s = now
            if spec.holds_log and not keeper.detached:
                waiting, stuck_s = beyond_bytes(keeper.synced), now - keeper.moved_s
                if waiting > spec.budget_bytes or stuck_s > spec.budget_s:
                    keeper.detached = True
                    logger.error(
                        "sink %s is detached: %d bytes of log wait for it, it stood still for %.0f s; "
                        "it will read run folders",
                        keeper.name, waiting, stuck_s,
                    )  # fmt: skip
            if keeper.process is not None and spec.memory_bytes < math.inf:
                keeper.process.kill_over(spec.memory_bytes)

    def errand(self, name: str) -> bool:
        """Tell a worker that it was asked for something; return whether there is such a worker."""
        keeper = self._keepers.get(name)
        if keeper is None:
            return False
        keeper.errand = True
        if keeper.process is not None:
            keeper.process.send({"errand": True, "sync": "errand"})
        keeper.wake.set()
        return True

    def undelivered(self) -> bool:
        """Return whether a worker that the log waits for is behind it, or one has something else to do."""
        return self.synced() < self.durable or any(keeper.owes for keeper in self._keepers.values())

    async def settle(self, name: str, line: dict[str, Any], timeout_s: float) -> bool:
        """Send a worker a line and then a token; return whether it answered the token in time."""
        keeper = self._keepers.get(name)
        if keeper is None or keeper.process is None:
            return True  # not running: it has nothing open
        return await keeper.settle(line, timeout_s)

    def tell(self, line: dict[str, Any]) -> None:
        """Send a line to every running worker."""
        for keeper in self._keepers.values():
            if keeper.process is not None:
                keeper.process.send(line)

    def status(self) -> list[dict[str, Any]]:
        """Return what ``ntrack collector status`` tells of each worker."""
        return [keeper.status() for keeper in self._keepers.values()]

    def pids(self) -> list[int]:
        """Return the process ids of the running workers."""
        return [k.process.pid for k in self._keepers.values() if k.process is not None]

    def read_cursor(self, name: str) -> Position:
        """Return a worker's durable position; the log's beginning where it is absent or unknown."""
        try:
            found = read_json(self._state.cursors / f"{name}.json")
            return self.position(found["position"])
        except (OSError, ValueError, KeyError, TypeError):
            return START

    def position(self, told: Any) -> Position:
        """Return the position a worker means; the log's beginning for a place the log does not have."""
        uuid, offset = bytes.fromhex(told[0]), int(told[1])
        ordinal = self._locate(uuid)
        found = START if ordinal is None else Position(ordinal, offset, uuid)
        return found if found <= self.durable else START

    def wanted(self, keeper: WorkerHandle) -> bool:
        """Return whether the worker should run now."""
        behind = keeper.synced < self.readable(keeper) and self._concerned(keeper)
        busy = behind or keeper.errand or keeper.owes or keeper.holds
        busy = busy or (keeper.spec.stays and self._sessions.any_live())
        # A run in quarantine comes out of it only where someone tries.
        if busy or (keeper.name == STORE and any_quarantined(self._state)):
            keeper.busy_s = time.monotonic()
        return time.monotonic() - keeper.busy_s < self._idle_s

    def readable(self, keeper: WorkerHandle) -> Position:
        """Return up to where the worker may read the log: what is durable, or what the store has applied."""
        store = self._keepers.get(STORE)
        return store.applied if keeper.spec.reads_folders and store is not None else self.durable

    def command(self, spec: WorkerSpec) -> list[str]:
        """Return how to spawn the worker."""
        return self._command(spec, self._state)

    def moved(self, keeper: WorkerHandle) -> None:
        """A worker told a new applied position."""
        if keeper.name == STORE:
            self._on_applied(keeper.applied)
            for other in self._keepers.values():
                if other.spec.reads_folders:
                    other.wake.set()

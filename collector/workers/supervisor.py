"""Runs the workers: spawns each when it has work, restarts it when it dies, stops it when it is idle.

The supervisor sends durable positions to a worker's stdin. The worker sends applied and synced positions on its
stdout. Both are JSON lines. To stop a worker, the supervisor closes its stdin. The set of workers may change at
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

IDLE_S = 30.0  # how long a worker stays without work


def worker_command(spec: WorkerSpec, state: State) -> list[str]:
    """Return the command that spawns a worker; ``-P`` keeps a user's own ``queue.py`` out. Never blocks."""
    module = "neural.tracking.collector.workers.worker"
    places = ["--base-dir", str(state.base_dir), "--state", str(state.root)]
    return [spec.python or interpreter.to_start(), "-P", "-m", module, spec.name, *places]


class Supervisor:
    """A part of the daemon: the workers. Runs on the event loop.

    Args:
        specs: the workers; default the builtin ones.
        locate: returns the ordinal of a log segment from its uuid; None if the log has no such segment.
        on_applied: is called with each new position that the store has applied.
        command: returns the command that spawns a worker.
        idle_s: for how many seconds an idle worker stays.
    """

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
        self._locate = locate
        self._on_applied = on_applied
        self._command = command
        self._idle_s = idle_s
        wanted = builtin_specs() if specs is None else specs
        self._handles = {spec.name: WorkerHandle(spec, self) for spec in wanted}
        self._tasks: dict[WorkerHandle, asyncio.Task[None]] = {}
        self._named: set[str] = set()  # sinks that a session in the log names
        self._started = self._stopping = False

    @property
    def state_root(self) -> Path:
        """The path of the state folder. Never blocks."""
        return self._state.root

    async def start(self) -> None:
        """Start to watch the workers; a worker is spawned only when it has work. Never blocks."""
        self._started = True
        for handle in self._handles.values():
            self._run_handle(handle)

    def set_workers(self, specs: Iterable[WorkerSpec]) -> None:
        """Keep exactly these workers from now on. Blocks briefly on the disk.

        A new worker begins at its cursor. A worker without a spec leaves. A worker whose version changed is
        restarted.
        """
        wanted = {spec.name: spec for spec in specs}
        for name, handle in list(self._handles.items()):
            if name not in wanted or wanted[name].version != handle.spec.version:
                handle.retire()
                del self._handles[name]
        for name, spec in wanted.items():
            existing = self._handles.get(name)
            if existing is not None:
                existing.spec = spec
                continue
            handle = self._handles[name] = WorkerHandle(spec, self)
            self._load_cursor(handle)
            if self._started and not self._stopping:
                self._run_handle(handle)

    def _run_handle(self, handle: WorkerHandle) -> None:
        task = asyncio.create_task(handle.run(), name=f"worker {handle.name}")
        self._tasks[handle] = task
        task.add_done_callback(lambda _: self._tasks.pop(handle, None))

    def on_log_recovered(self, durable: Position) -> None:
        """Read the cursor of each worker, now that the log knows its segments. Blocks briefly on the disk."""
        self.durable = durable
        for handle in self._handles.values():
            self._load_cursor(handle)
            self.on_worker_applied(handle)

    def _load_cursor(self, handle: WorkerHandle) -> None:
        cursor = self.read_cursor(handle.name)
        if self.durable.ordinal == 1 and self.durable.offset == segment.HEADER_BYTES:
            cursor = self.durable  # nothing was ever written to this log, so there is nothing to read
        handle.applied = handle.synced = cursor
        handle.has_own_work = handle.name == VISUALIZER and self._state.plots_due.exists()

    async def drain(self, deadline: float) -> int:
        """Let the store apply what is durable, then stop all workers; return whether the store is behind.

        The drain does not wait for a backend that is down, and does not count it as left: its events stay in
        the log.
        """
        store = self._handles.get(STORE)
        while store is not None and time.monotonic() < deadline and store.running and store.is_behind():
            await asyncio.sleep(0.02)
        self._stopping = True
        for handle in list(self._tasks):
            handle.retire()
        if self._tasks:
            patience = max(0.5, deadline - time.monotonic())
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return int(store is not None and store.is_behind())

    def on_committed(self, position: Position) -> None:
        """The log is durable up to ``position``: the workers may read it. Never blocks."""
        self.durable = position
        for handle in self._handles.values():
            handle.wake.set()

    def synced(self) -> Position:
        """Return the position that every cursor for which the log waits has durably passed. Never blocks."""
        waited_for = (k.synced for k in self._handles.values() if self._holds(k))
        return min(waited_for, default=START)

    def _holds(self, handle: WorkerHandle) -> bool:
        return handle.spec.holds_log and not handle.detached and self._is_concerned(handle)

    def _is_concerned(self, handle: WorkerHandle) -> bool:
        """Return whether the log can hold anything for the worker."""
        if not handle.spec.named_only:
            return True
        return handle.name in self._named

    def review(self, beyond_bytes: Callable[[Position], int]) -> None:
        """Check which sinks the sessions name, and which workers are over a budget of waiting log or of memory.

        Blocks briefly on the disk.

        Args:
            beyond_bytes: returns how many bytes of log lie after a position.
        """
        self._named = {name for session in self._sessions for name in named_sinks(session)}
        for handle in self._handles.values():
            spec, now = handle.spec, time.monotonic()
            if not self._is_concerned(handle) or handle.synced >= self.durable:
                handle.moved_s = handle.caught_up_s = now
            if spec.holds_log and not handle.detached:
                waiting, stuck_s = beyond_bytes(handle.synced), now - handle.moved_s
                if waiting > spec.budget_bytes or stuck_s > spec.budget_s:
                    handle.detached = True
                    logger.error(
                        "sink %s is detached: %d bytes of log wait for it, it did not advance for %.0f s; "
                        "it will read run folders",
                        handle.name, waiting, stuck_s,
                    )  # fmt: skip
            if handle.process is not None and spec.memory_bytes < math.inf:
                handle.process.kill_over(spec.memory_bytes)

    def errand(self, name: str) -> bool:
        """Tell a worker that it has a request beside the log (an errand); return whether the worker exists.

        Never blocks.
        """
        handle = self._handles.get(name)
        if handle is None:
            return False
        handle.errand = True
        if handle.process is not None:
            handle.process.send({"errand": True, "sync": "errand"})
        handle.wake.set()
        return True

    def undelivered(self) -> bool:
        """Return whether a worker for which the log waits is behind, or one has work of its own."""
        return self.synced() < self.durable or any(handle.has_own_work for handle in self._handles.values())

    async def send_and_wait(self, name: str, line: dict[str, Any], timeout_s: float) -> bool:
        """Send a worker a line and then a token; return whether it answered within ``timeout_s`` seconds."""
        handle = self._handles.get(name)
        if handle is None or handle.process is None:
            return True  # it does not run, so it has nothing open
        return await handle.send_and_wait(line, timeout_s)

    def broadcast(self, line: dict[str, Any]) -> None:
        """Send a line to every running worker. Never blocks."""
        for handle in self._handles.values():
            if handle.process is not None:
                handle.process.send(line)

    def status(self) -> list[dict[str, Any]]:
        """Return the state of each worker for ``ntrack collector status``. Never blocks."""
        return [handle.status() for handle in self._handles.values()]

    def pids(self) -> list[int]:
        """Return the process ids of the running workers. Never blocks."""
        return [k.process.pid for k in self._handles.values() if k.process is not None]

    def read_cursor(self, name: str) -> Position:
        """Return a worker's durable position; the log's beginning if there is no valid one. Blocks briefly."""
        try:
            found = read_json(self._state.cursors / f"{name}.json")
            return self.position(found["position"])
        except (OSError, ValueError, KeyError, TypeError):
            return START

    def position(self, value: Any) -> Position:
        """Return the position in a worker's line; the log's beginning if the log does not have it.

        Raises:
            ValueError, TypeError, IndexError: it is not a position.
        """
        uuid, offset = bytes.fromhex(value[0]), int(value[1])
        ordinal = self._locate(uuid)
        found = START if ordinal is None else Position(ordinal, offset, uuid)
        return found if found <= self.durable else START

    def is_wanted(self, handle: WorkerHandle) -> bool:
        """Return whether the worker should run now. Blocks briefly on the disk."""
        behind = handle.synced < self.readable(handle) and self._is_concerned(handle)
        busy = behind or handle.errand or handle.has_own_work or handle.holds
        busy = busy or (handle.spec.stays and self._sessions.any_live())
        # A run leaves quarantine only if the store tries it again.
        if busy or (handle.name == STORE and any_quarantined(self._state)):
            handle.busy_s = time.monotonic()
        return time.monotonic() - handle.busy_s < self._idle_s

    def readable(self, handle: WorkerHandle) -> Position:
        """Return up to where the worker may read the log: what is durable, or what the store has applied."""
        store = self._handles.get(STORE)
        return store.applied if handle.spec.reads_folders and store is not None else self.durable

    def command(self, spec: WorkerSpec) -> list[str]:
        """Return the command that spawns the worker."""
        return self._command(spec, self._state)

    def on_worker_applied(self, handle: WorkerHandle) -> None:
        """A worker reported a new applied position."""
        if handle.name == STORE:
            self._on_applied(handle.applied)
            for other in self._handles.values():
                if other.spec.reads_folders:
                    other.wake.set()

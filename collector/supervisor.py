"""Runs the workers: starts each when there is something for it, restarts it when it dies, lets it go when idle.

A worker is told durable positions on its stdin and tells applied and synced ones on its stdout, JSON
lines both ways. Its stdin closing is how it is asked to leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from neural.tracking import segment
from neural.tracking.collector.sessions import START, Position, Sessions
from neural.tracking.collector.workerproc import WorkerProcess
from neural.tracking.files import read_json
from neural.tracking.state import State

logger = logging.getLogger(__name__)

STORE = "store"
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 30.0
CALM_S = 60.0  # a worker that lived this long starts again without a wait
IDLE_S = 30.0  # how long a worker stays with nothing to do and no session open
TELL_EVERY_S = 0.01


def worker_command(name: str, state: State) -> list[str]:
    """Return how a worker is spawned; ``-P`` keeps a user's own ``queue.py`` out."""
    module = "neural.tracking.collector.worker"
    places = ["--base-dir", str(state.base_dir), "--state", str(state.root)]
    return [sys.executable, "-P", "-m", module, name, *places]


class Supervisor:
    """A part of the daemon: the workers."""

    name = "supervisor"

    def __init__(
        self,
        state: State,
        sessions: Sessions,
        *,
        names: Sequence[str] = (STORE,),
        locate: Callable[[bytes], int | None],
        on_applied: Callable[[Position], None],
        command: Callable[[str, State], list[str]] = worker_command,
        idle_s: float = IDLE_S,
    ) -> None:
        self.durable = START
        self._state = state
        self._sessions = sessions
        self._locate = locate  # from a segment's uuid to its ordinal, None if the log has no such segment
        self._on_applied = on_applied
        self._command = command
        self._idle_s = idle_s
        self._workers = [_Keeper(name, self) for name in names]
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = False

    async def start(self) -> None:
        """Begin to keep workers; none is spawned before there is something to do."""
        for keeper in self._workers:
            self._tasks.append(asyncio.create_task(keeper.keep(), name=f"worker {keeper.name}"))

    def log_known(self, durable: Position) -> None:
        """Read how far each worker came; possible once the log knows its segments."""
        self.durable = durable
        for keeper in self._workers:
            cursor = self.read_cursor(keeper.name)
            if durable.ordinal == 1 and durable.offset == segment.HEADER_BYTES:
                cursor = durable  # a log in which nothing was ever written needs no reading
            keeper.applied = keeper.synced = cursor
            if keeper.name == STORE:
                self._on_applied(keeper.applied)

    async def drain(self, deadline: float) -> int:
        """Let the workers finish what is durable, then ask them to leave; return how many are behind."""
        while time.monotonic() < deadline and any(k.running and k.behind() for k in self._workers):
            await asyncio.sleep(0.02)
        self._leaving = True
        for keeper in self._workers:
            keeper.wake.set()
        if self._tasks:
            patience = max(0.5, deadline - time.monotonic())
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        return sum(1 for keeper in self._workers if keeper.behind())

    def on_committed(self, position: Position) -> None:
        """The log is durable up to here: the workers may read it."""
        self.durable = position
        for keeper in self._workers:
            keeper.wake.set()

    def synced(self) -> Position:
        """Return what every worker's cursor has durably passed."""
        return min((keeper.synced for keeper in self._workers), default=START)

    def undelivered(self) -> bool:
        """Return whether some worker has not yet durably applied all of the log."""
        return any(keeper.synced < self.durable for keeper in self._workers)

    async def settle(self, name: str, line: dict[str, Any], timeout_s: float) -> bool:
        """Send a worker a line and then a token; return whether it answered the token in time."""
        for keeper in self._workers:
            if keeper.name == name and keeper.process is not None:
                return await keeper.settle(line, timeout_s)
        return True  # not running: it has nothing open

    def status(self) -> list[dict[str, Any]]:
        """Return what ``ntrack collector status`` tells of each worker."""
        return [keeper.status() for keeper in self._workers]

    def pids(self) -> list[int]:
        """Return the process ids of the running workers."""
        return [k.process.pid for k in self._workers if k.process is not None]

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

    def leaving(self) -> bool:
        """Return whether the daemon is draining."""
        return self._leaving

    def wanted(self, keeper: _Keeper) -> bool:
        """Return whether the worker should run now."""
        busy = keeper.synced < self.durable or self._sessions.any_live()
        if busy:
            keeper.busy_s = time.monotonic()
        return not self._leaving and time.monotonic() - keeper.busy_s < self._idle_s

    def command(self, name: str) -> list[str]:
        """Return how to spawn the worker."""
        return self._command(name, self._state)

    def moved(self, keeper: _Keeper) -> None:
        """A worker told a new applied position."""
        if keeper.name == STORE:
            self._on_applied(keeper.applied)


class _Keeper:
    """One worker's life across its processes."""

    def __init__(self, name: str, supervisor: Supervisor) -> None:
        self.name = name
        self.applied = START
        self.synced = START
        self.process: WorkerProcess | None = None
        self.busy_s = -1e9
        self.wake = asyncio.Event()
        self.restarts = 0
        self.last_error: str | None = None
        self._supervisor = supervisor
        self._tokens: dict[str, asyncio.Event] = {}
        self._told = START

    @property
    def running(self) -> bool:
        return self.process is not None

    def behind(self) -> bool:
        return self.applied < self._supervisor.durable

    async def keep(self) -> None:
        """Spawn, feed, reap, wait, and again, until the daemon leaves and the process is gone."""
        backoff_s = FIRST_BACKOFF_S
        while not self._supervisor.leaving():
            if not self._supervisor.wanted(self):
                await self._pause(1.0)
                continue
            began_s = time.monotonic()
            code = await self._live()
            if code == 0 or self._supervisor.leaving():
                backoff_s = FIRST_BACKOFF_S
                continue
            self.restarts += 1
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - began_s > CALM_S else backoff_s
            logger.error("worker %s left with code %s; it starts again in %.1f s", self.name, code, backoff_s)
            await self._pause(backoff_s * random.uniform(0.8, 1.2), quietly=True)
            backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)

    async def _live(self) -> int | None:
        """Run one process from spawn to exit; return its exit code, None when it could not be spawned."""
        try:
            command = self._supervisor.command(self.name)
            self.process = await WorkerProcess.spawn(self.name, command, self._hear)
        except OSError as error:
            self.last_error = f"could not be spawned: {error}"
            return None
        self._told = START
        try:
            while self._supervisor.wanted(self) and self.process.alive():
                self._tell()
                await self._pause(1.0)
            return await self.process.leave()
        finally:
            await self.process.end()  # only if it is still there: cancelled at the deadline
            self.process = None

    def _tell(self) -> None:
        durable = self._supervisor.durable
        if self.process is not None and durable > self._told:
            self._told = durable
            self.process.send({"durable": durable.told()})

    async def _pause(self, longest_s: float, *, quietly: bool = False) -> None:
        """Wait until something changed, yet not so often that every commit wakes the worker."""
        if self.process is not None:
            await asyncio.sleep(TELL_EVERY_S)
        with contextlib.suppress(TimeoutError):
            if quietly:
                deadline = time.monotonic() + longest_s
                while not self._supervisor.leaving() and time.monotonic() < deadline:
                    await asyncio.sleep(min(0.1, longest_s))
            else:
                await asyncio.wait_for(self.wake.wait(), longest_s)
        self.wake.clear()

    def _hear(self, line: dict[str, Any] | None) -> None:
        """Take what the worker says; None when it is gone."""
        if line is None:
            self.wake.set()
            return
        try:
            if "applied" in line:
                self.applied = self._supervisor.position(line["applied"])
                self._supervisor.moved(self)
            if "synced" in line:
                self.synced = self._supervisor.position(line["synced"])
                self.wake.set()
        except (ValueError, TypeError, IndexError):
            logger.error("worker %s told a position that is none: %s", self.name, json.dumps(line)[:200])
        if "error" in line:
            self.last_error = str(line["error"])[:1000]
        token = line.get("token")
        if isinstance(token, str) and token in self._tokens:
            self._tokens[token].set()

    async def settle(self, line: dict[str, Any], timeout_s: float) -> bool:
        assert self.process is not None
        token = f"{time.monotonic_ns():x}"
        answered = self._tokens[token] = asyncio.Event()
        self.process.send(line)
        self.process.send({"sync": token})
        try:
            await asyncio.wait_for(answered.wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            del self._tokens[token]
        return True

    def status(self) -> dict[str, Any]:
        durable = self._supervisor.durable
        same = self.applied.ordinal == durable.ordinal
        return {
            "name": self.name,
            "pid": self.process.pid if self.process is not None else None,
            "state": "running" if self.process is not None else "resting",
            "applied": self.applied.told(),
            "synced": self.synced.told(),
            "lag_bytes": max(0, durable.offset - self.applied.offset) if same else None,
            "restarts": self.restarts,
            "last_error": self.last_error,
        }

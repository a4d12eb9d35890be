"""One worker across its processes: spawns and restarts it, sends positions, receives its reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any, Protocol

from neural.tracking.collector.log.sessions import START, Position
from neural.tracking.collector.workers.specs import WorkerSpec
from neural.tracking.collector.workers.worker_process import WorkerProcess
from neural.tracking.core.times import jittered

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 30.0
STABLE_S = 60.0  # after this time, or any progress of its cursor, a worker restarts with the first backoff
SEND_EVERY_S, SEND_SELDOM_S = 0.01, 0.5


class WorkerOwner(Protocol):
    """What a handle needs of the supervisor. Nothing here blocks for long."""

    durable: Position

    @property
    def state_root(self) -> Path:
        """The path of the state folder."""

    def is_wanted(self, handle: WorkerHandle) -> bool:
        """Return whether the worker should run now."""

    def readable(self, handle: WorkerHandle) -> Position:
        """Return up to where the worker may read the log."""

    def command(self, spec: WorkerSpec) -> list[str]:
        """Return the command that spawns the worker."""

    def position(self, value: Any) -> Position:
        """Return the position in a worker's line; raise ValueError, TypeError or IndexError if it is none."""

    def on_worker_applied(self, handle: WorkerHandle) -> None:
        """Take note of a new applied position."""

    def errand(self, name: str) -> bool:
        """Tell a worker that it has a request beside the log."""


class WorkerHandle:
    """One worker. The supervisor creates the handle and decides when the worker should run."""

    def __init__(self, spec: WorkerSpec, owner: WorkerOwner) -> None:
        self.spec = spec
        self.applied = START
        self.synced = START
        self.process: WorkerProcess | None = None
        self.busy_s = -1e9
        self.wake = asyncio.Event()
        self.restarts = 0
        self.last_error: str | None = None
        self.retired = False
        self.errand = False  # whether it has a request beside the log
        self.detached = False  # whether it is over its budget, so that the log does not wait for it
        self.moved_s = time.monotonic()
        self.caught_up_s = time.monotonic()  # when the worker last had applied everything
        self.about: dict[str, Any] = {}
        self.has_own_work = False  # whether it reported work of its own, whatever the log holds
        self._owner = owner
        self._tokens: dict[str, asyncio.Event] = {}
        self._sent = START

    @property
    def name(self) -> str:
        """The worker's name. Never blocks."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether a process runs. Never blocks."""
        return self.process is not None

    @property
    def holds(self) -> bool:
        """Whether the worker holds runs back: only a running worker tries them again. Never blocks."""
        return self.about.get("state") == "holding"

    def is_behind(self) -> bool:
        """Return whether something durable is not applied yet. Never blocks."""
        return self.applied < self._owner.durable

    def retire(self) -> None:
        """Ask the process to leave; it is not spawned again. Never blocks."""
        self.retired = True
        self.wake.set()

    async def run(self) -> None:
        """Spawn the process, send positions, reap it, wait, and repeat, until retired and it is gone."""
        backoff_s = FIRST_BACKOFF_S
        while not self.retired:
            if not self._owner.is_wanted(self):
                await self._pause(1.0)
                continue
            began_s, began = time.monotonic(), self.synced
            code = await self._run_process()
            if code == 0 or self.retired:
                backoff_s = FIRST_BACKOFF_S
                continue
            self.restarts += 1
            if self.synced != began or time.monotonic() - began_s > STABLE_S:
                backoff_s = FIRST_BACKOFF_S
            logger.error("worker %s left with code %s; it starts again in %.1f s", self.name, code, backoff_s)
            await self._pause(jittered(backoff_s), ignore_wake=True)
            backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)
            # Otherwise a worker that cannot run would keep the collector from ever leaving.
            self.has_own_work = self.has_own_work and backoff_s < LAST_BACKOFF_S

    async def _run_process(self) -> int | None:
        """Run one process from spawn to exit; return its exit code, None when it could not be spawned."""
        try:
            command = self._owner.command(self.spec)
            root = self._owner.state_root
            self.process = await WorkerProcess.spawn(self.name, root, command, self._receive)
        except OSError as error:
            self.last_error = f"could not be spawned: {error}"
            return None
        self._sent = START
        if self.errand:
            self.process.send({"errand": True})
        try:
            while not self.retired and self._owner.is_wanted(self) and self.process.alive():
                self._send_durable()
                await self._pause(1.0)
            return await self.process.leave()
        finally:
            await self.process.end()  # it still runs if this task was cancelled at the deadline
            self.process = None

    def _send_durable(self) -> None:
        durable = self._owner.readable(self)
        if (
            self.process is not None
            and durable > self._sent
            and self.process.send({"durable": durable.to_json()})
        ):
            self._sent = durable

    async def _pause(self, longest_s: float, *, ignore_wake: bool = False) -> None:
        """Wait until something changed; a short pause first, so that not every commit wakes the worker."""
        if self.process is not None:
            await asyncio.sleep(SEND_SELDOM_S if self.spec.reads_folders else SEND_EVERY_S)
        with contextlib.suppress(TimeoutError):
            if ignore_wake:
                deadline = time.monotonic() + longest_s
                while not self.retired and time.monotonic() < deadline:
                    await asyncio.sleep(min(0.1, longest_s))
            else:
                await asyncio.wait_for(self.wake.wait(), longest_s)
        self.wake.clear()

    def _receive(self, line: dict[str, Any] | None) -> None:
        """Handle one line of the worker; None when it is gone."""
        if line is None:
            self.wake.set()
            return
        try:
            if "applied" in line:
                self.applied = self._owner.position(line["applied"])
                self._owner.on_worker_applied(self)
            if "synced" in line:
                self.synced = self._owner.position(line["synced"])
                # A predecessor applied it: it wrote its cursor after the supervisor had read it.
                if self.synced > self.applied:
                    self.applied = self.synced
                    self._owner.on_worker_applied(self)
                self.moved_s, self.detached = time.monotonic(), False
                self.wake.set()
        except (ValueError, TypeError, IndexError):
            logger.error("worker %s sent an invalid position: %s", self.name, json.dumps(line)[:200])
        if "owes" in line:
            self.has_own_work = bool(line["owes"])
        if "error" in line:
            self.last_error = str(line["error"])[:1000]
        if isinstance(line.get("about"), dict):
            self.about = line["about"]
            self.last_error = self.about.get("error")
        for name in line.get("errands") or ():
            self._owner.errand(str(name))
        if line.get("errand") is False:
            self.errand = False
        token = line.get("token")
        if isinstance(token, str) and token in self._tokens:
            self._tokens[token].set()

    async def send_and_wait(self, line: dict[str, Any], timeout_s: float) -> bool:
        """Send the worker a line and then a token; return whether it answered within ``timeout_s`` seconds."""
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
        """Return the worker's state for ``ntrack status``. Never blocks."""
        durable = self._owner.durable
        same = self.applied.ordinal == durable.ordinal
        waits = self.synced < durable
        return {
            "name": self.name,
            "pid": self.process.pid if self.process is not None else None,
            "state": "running" if self.process is not None else "resting",
            "applied": self.applied.to_json(),
            "synced": self.synced.to_json(),
            "holds_log": self.spec.holds_log,
            "lag_bytes": max(0, durable.offset - self.applied.offset) if same else None,
            "waits_s": time.monotonic() - self.caught_up_s if waits else 0.0,
            "restarts": self.restarts,
            "last_error": self.last_error,
            "detached": self.detached,
            "about": self.about,
        }

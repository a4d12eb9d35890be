"""One worker's life across its processes: spawned when wanted, fed, heard, reaped, restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from pathlib import Path
from typing import Any, Protocol

from neural.tracking.collector.log.sessions import START, Position
from neural.tracking.collector.workers.specs import WorkerSpec
from neural.tracking.collector.workers.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 30.0
CALM_S = 60.0  # a worker that lived this long, or brought something to its end, starts again without a wait
TELL_EVERY_S, TELL_SELDOM_S = 0.01, 0.5


class Master(Protocol):
    """What a keeper asks of the supervisor."""

    durable: Position

    @property
    def state_root(self) -> Path:
        """Where the state folder is."""

    def wanted(self, keeper: WorkerHandle) -> bool:
        """Return whether the worker should run now."""

    def readable(self, keeper: WorkerHandle) -> Position:
        """Return up to where the worker may read the log."""

    def command(self, spec: WorkerSpec) -> list[str]:
        """Return how to spawn the worker."""

    def position(self, told: Any) -> Position:
        """Return the position a worker means."""

    def moved(self, keeper: WorkerHandle) -> None:
        """Take note of a new applied position."""

    def errand(self, name: str) -> bool:
        """Tell a worker that it was asked for something beside the log."""


class WorkerHandle:
    """Keeps one worker; made by the supervisor, which decides when the worker is wanted."""

    def __init__(self, spec: WorkerSpec, master: Master) -> None:
        self.spec = spec
        self.applied = START
        self.synced = START
        self.process: WorkerProcess | None = None
        self.busy_s = -1e9
        self.wake = asyncio.Event()
        self.restarts = 0
        self.last_error: str | None = None
        self.retired = False
        self.errand = False  # asked for something beside the log
        self.detached = False  # over its budget: the log no longer waits for it
        self.moved_s = time.monotonic()
        self.caught_up_s = time.monotonic()  # when the worker last had all there was
        self.about: dict[str, Any] = {}
        self.owes = False  # the worker says that it has something to do, whatever the log holds
        self._master = master
        self._tokens: dict[str, asyncio.Event] = {}
        self._told = START

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def holds(self) -> bool:
        """Return whether runs are held back there: only a worker that is there tries them again."""
        return self.about.get("state") == "holding"

    def behind(self) -> bool:
        """Return whether something durable is not applied yet."""
        return self.applied < self._master.durable

    def retire(self) -> None:
        """Ask the process to leave; it is not spawned again."""
        self.retired = True
        self.wake.set()

    async def keep(self) -> None:
        """Spawn, feed, reap, wait, and again, until retired and the process is gone."""
        backoff_s = FIRST_BACKOFF_S
        while not self.retired:
            if not self._master.wanted(self):
                await self._pause(1.0)
                continue
            began_s, began = time.monotonic(), self.synced
            code = await self._live()
            if code == 0 or self.retired:
                backoff_s = FIRST_BACKOFF_S
                continue
            self.restarts += 1
            if self.synced != began or time.monotonic() - began_s > CALM_S:
                backoff_s = FIRST_BACKOFF_S
            logger.error("worker %s left with code %s; it starts again in %.1f s", self.name, code, backoff_s)
            await self._pause(backoff_s * random.uniform(0.8, 1.2), quietly=True)
            backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)
            # Else a worker that cannot live would keep the collector from ever leaving.
            self.owes = self.owes and backoff_s < LAST_BACKOFF_S

    async def _live(self) -> int | None:
        """Run one process from spawn to exit; return its exit code, None when it could not be spawned."""
        try:
            command = self._master.command(self.spec)
            root = self._master.state_root
            self.process = await WorkerProcess.spawn(self.name, root, command, self._hear)
        except OSError as error:
            self.last_error = f"could not be spawned: {error}"
            return None
        self._told = START
        if self.errand:
            self.process.send({"errand": True})
        try:
            while not self.retired and self._master.wanted(self) and self.process.alive():
                self._tell()
                await self._pause(1.0)
            return await self.process.leave()
        finally:
            await self.process.end()  # only if it is still there: cancelled at the deadline
            self.process = None

    def _tell(self) -> None:
        durable = self._master.readable(self)
        if (
            self.process is not None
            and durable > self._told
            and self.process.send({"durable": durable.to_json()})
        ):
            self._told = durable

    async def _pause(self, longest_s: float, *, quietly: bool = False) -> None:
        """Wait until something changed, yet not so often that every commit wakes the worker."""
        if self.process is not None:
            await asyncio.sleep(TELL_SELDOM_S if self.spec.reads_folders else TELL_EVERY_S)
        with contextlib.suppress(TimeoutError):
            if quietly:
                deadline = time.monotonic() + longest_s
                while not self.retired and time.monotonic() < deadline:
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
                self.applied = self._master.position(line["applied"])
                self._master.moved(self)
            if "synced" in line:
                self.synced = self._master.position(line["synced"])
                # By a predecessor, which wrote its cursor after it was read here.
                if self.synced > self.applied:
                    self.applied = self.synced
                    self._master.moved(self)
                self.moved_s, self.detached = time.monotonic(), False
                self.wake.set()
        except (ValueError, TypeError, IndexError):
            logger.error("worker %s told a position that is none: %s", self.name, json.dumps(line)[:200])
        if "owes" in line:
            self.owes = bool(line["owes"])
        if "error" in line:
            self.last_error = str(line["error"])[:1000]
        if isinstance(line.get("about"), dict):
            self.about = line["about"]
            self.last_error = self.about.get("error")
        for name in line.get("errands") or ():
            self._master.errand(str(name))
        if line.get("errand") is False:
            self.errand = False
        token = line.get("token")
        if isinstance(token, str) and token in self._tokens:
            self._tokens[token].set()

    async def settle(self, line: dict[str, Any], timeout_s: float) -> bool:
        """Send the running worker a line and then a token; return whether it answered the token in time."""
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
        """Return what ``ntrack status`` tells of the worker."""
        durable = self._master.durable
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

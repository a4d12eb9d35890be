"""One worker process and its pipes: JSON lines in and out, its complaints into the daemon's log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from neural.tracking.collector.workers.leftovers import end_leftovers, mark_of

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 1 << 20
MAX_UNREAD_BYTES = 256 << 10  # a hung worker's stdin may hold this much; positions are then left out
LEAVE_S = 20.0

Heard = Callable[[dict[str, Any] | None], None]


class WorkerProcess:
    """A spawned worker, its own session so that a terminal's Ctrl-C reaches only the daemon."""

    def __init__(self, name: str, state_root: Path, process: Process, heard: Heard) -> None:
        self.name = name
        self._state_root = state_root
        self.pid = process.pid
        self._process = process
        self._heard = heard
        self._readers = [
            asyncio.create_task(self._read_lines(), name=f"{name} stdout"),
            asyncio.create_task(self._read_complaints(), name=f"{name} stderr"),
        ]

    @classmethod
    async def spawn(cls, name: str, state_root: Path, command: Sequence[str], heard: Heard) -> WorkerProcess:
        """Start the process.

        Raises:
            OSError: it could not be started.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
            env={**os.environ, **mark_of(state_root, name)},
        )
        return cls(name, state_root, process, heard)

    def alive(self) -> bool:
        """Return whether the process has not yet been reaped."""
        return self._process.returncode is None

    def send(self, line: dict[str, Any]) -> bool:
        """Hand over a line; return False where it was not, since the worker does not read."""
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing() or stdin.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            return False
        with contextlib.suppress(OSError):
            stdin.write(json.dumps(line).encode() + b"\n")
        return True

    def kill_over(self, memory_bytes: float) -> None:
        """Kill a process that takes more memory than it may; its successor begins where it was."""
        try:
            taken = psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return
        if taken > memory_bytes and self.alive():
            logger.error("worker %s took %d bytes of memory and was killed", self.name, taken)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def leave(self) -> int:
        """Close its stdin, wait for it to go; kill it if it will not. Return its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._gone(), LEAVE_S)
        except TimeoutError:
            logger.error("worker %s did not leave within %.0f s and was killed", self.name, LEAVE_S)
        await self.end()
        return self._process.returncode or 0

    async def end(self) -> None:
        """Kill it if it is still there; its cursor tells the next one where to go on. Reap it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        # Before the wait, which lasts as long as anybody has the pipes: a suspended service, for ever.
        for pid in await asyncio.to_thread(end_leftovers, self._state_root, self.name, but=self.pid):
            logger.warning("worker %s left process %d behind; it was killed", self.name, pid)
        await self._process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _gone(self) -> None:
        """Wait for the process alone: its pipes may be with something it left behind."""
        while self.alive():
            await asyncio.sleep(0.02)

    async def _read_lines(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                raw = await self._process.stdout.readline()
            except ValueError:  # a line over the limit: no position is that long
                logger.error("worker %s wrote a line over %d bytes", self.name, MAX_LINE_BYTES)
                continue
            if not raw:
                break
            try:
                line = json.loads(raw)
            except ValueError:
                logger.warning("worker %s wrote %r", self.name, raw[:200])
                continue
            if isinstance(line, dict):
                self._heard(line)
        await self._process.wait()
        self._heard(None)

    async def _read_complaints(self) -> None:
        assert self._process.stderr is not None
        while raw := await self._process.stderr.read(8192):
            for text in raw.decode("utf-8", "replace").splitlines():
                logger.warning("worker %s: %s", self.name, text[:2000])

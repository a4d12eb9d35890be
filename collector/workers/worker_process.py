"""One worker process and its pipes: JSON lines in and out, and its stderr goes to the daemon's log."""

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
MAX_UNREAD_BYTES = 256 << 10  # a hung worker's stdin may buffer this much; further lines are dropped
LEAVE_S = 20.0

OnLine = Callable[[dict[str, Any] | None], None]


class WorkerProcess:
    """A spawned worker, in a session of its own: a terminal's Ctrl-C reaches only the daemon.

    ``on_line`` is called with each JSON object that the worker writes, and with None when the worker is gone.
    """

    def __init__(self, name: str, state_root: Path, process: Process, on_line: OnLine) -> None:
        self.name = name
        self._state_root = state_root
        self.pid = process.pid
        self._process = process
        self._on_line = on_line
        self._readers = [
            asyncio.create_task(self._read_lines(), name=f"{name} stdout"),
            asyncio.create_task(self._read_stderr(), name=f"{name} stderr"),
        ]

    @classmethod
    async def spawn(cls, name: str, state_root: Path, command: Sequence[str], on_line: OnLine) -> WorkerProcess:
        """Start the process. Waits until it is started.

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
        return cls(name, state_root, process, on_line)

    def alive(self) -> bool:
        """Return whether the process has not been reaped yet. Never blocks."""
        return self._process.returncode is None

    def send(self, line: dict[str, Any]) -> bool:
        """Queue a line for the worker's stdin; return False if the worker does not read. Never blocks."""
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing() or stdin.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            return False
        with contextlib.suppress(OSError):
            stdin.write(json.dumps(line).encode() + b"\n")
        return True

    def kill_over(self, memory_bytes: float) -> None:
        """Kill a process that uses more than ``memory_bytes``; its successor continues at its cursor.

        Never blocks.
        """
        try:
            taken = psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return
        if taken > memory_bytes and self.alive():
            logger.error("worker %s took %d bytes of memory and was killed", self.name, taken)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def leave(self) -> int:
        """Close its stdin and wait until it exits; kill it after 20 s. Return its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._wait_for_exit(), LEAVE_S)
        except TimeoutError:
            logger.error("worker %s did not leave within %.0f s and was killed", self.name, LEAVE_S)
        await self.end()
        return self._process.returncode or 0

    async def end(self) -> None:
        """Kill the process if it still runs, kill what it left behind, and reap it. Waits until it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        # This comes before the wait: the wait lasts as long as any process holds the pipes, and a suspended one
        # holds them for ever.
        for pid in await asyncio.to_thread(end_leftovers, self._state_root, self.name, but=self.pid):
            logger.warning("worker %s left process %d behind; it was killed", self.name, pid)
        await self._process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _wait_for_exit(self) -> None:
        """Wait for the process alone: a process that it left behind may hold its pipes."""
        while self.alive():
            await asyncio.sleep(0.02)

    async def _read_lines(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                raw = await self._process.stdout.readline()
            except ValueError:  # the line is over the limit; no position is that long
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
                self._on_line(line)
        await self._process.wait()
        self._on_line(None)

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while raw := await self._process.stderr.read(8192):
            for text in raw.decode("utf-8", "replace").splitlines():
                logger.warning("worker %s: %s", self.name, text[:2000])

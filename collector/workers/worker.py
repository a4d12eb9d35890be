"""A worker: a process that reads the log from its cursor on and hands it to one applier.

The supervisor starts it as ``python -P -m neural.tracking.collector.workers.worker <name> --base-dir B
--state S``. They exchange JSON lines over the worker's standard input and output. To the worker:
``{"durable": [uuid, offset]}`` says how far the log may be read, ``{"sync": token}`` asks for a flush and an
answer, ``{"run_gone": uid}`` names a removed run; end of input means: save and leave. From the worker:
``{"applied": …}`` once everything up to a position is applied, ``{"synced": …}`` once the cursor is durable
there, ``{"token": …}`` as the answer to ``sync``, ``{"error": …}``, and what the applier reports.

The worker locks the file beside its cursor before it reads the cursor, and keeps the lock to the end. A
supervisor that sees the pipe closed cannot know that the predecessor is gone; the lock can.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import os
import random
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural.tracking.collector.applier import Applier, Report
from neural.tracking.collector.log.items import LogItem
from neural.tracking.collector.log.reader import (
    LEAST_CHUNK_BYTES,
    MOST_CHUNK_BYTES,
    CursorPosition,
    LogReader,
    parse_position,
    read_cursor,
)
from neural.tracking.collector.workers.leftovers import end_leftovers
from neural.tracking.collector.workers.specs import STORE, VISUALIZER, make_applier
from neural.tracking.core.files import fsync_dir, read_json, write_json
from neural.tracking.core.os_support import yield_cores
from neural.tracking.errors import RetryLater
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)

NICENESS = 5  # where all cores are busy, the training and the acknowledgement of batches go first
FLUSH_AFTER_BYTES = 16 << 20
TICK_S = 1.0
QUICK_S, SLOW_S = 0.1, 0.5  # after a shorter write the worker reads more at once, after a longer one less
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 60.0
LONGEST_STORE_RETRY_S = 5.0  # a full disk may have room again at any moment, and trainers wait for the store


class SupervisorCommands:
    """Reads the supervisor's messages from a pipe and passes them to the applier."""

    def __init__(self, fd: int, applier: Applier) -> None:
        self._fd = fd
        self._applier = applier
        self._pending = b""
        self.durable: CursorPosition | None = None
        self.tokens: list[Any] = []
        self.ended = False

    def wait(self, timeout_s: float) -> None:
        """Handle all messages that have come; wait at most ``timeout_s`` for the first one."""
        deadline = time.monotonic() + timeout_s
        while not self.ended:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return
            data = os.read(self._fd, 1 << 16)
            self.ended = not data
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                self._handle(line)
            deadline = 0.0

    def _handle(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            logger.warning("ignored a line of the supervisor that is no JSON: %r", line[:200])
            return
        if not isinstance(message, dict):
            return
        if (position := parse_position(message.get("durable"))) is not None:
            self.durable = position
        if "sync" in message:
            self.tokens.append(message["sync"])
        if isinstance(message.get("run_gone"), str):
            self._applier.on_run_removed(message["run_gone"])
        self._applier.on_command(message)


class Worker:
    """Reads the log, retries, and keeps the cursor; the applier only translates and writes."""

    def __init__(
        self, applier: Applier, state: State, commands: SupervisorCommands, report: Report | None = None
    ) -> None:
        self._applier = applier
        self._commands = commands
        self._report = report_on_stdout if report is None else report
        self._cursor_file = state.cursors / f"{applier.name}.json"
        self._strays_file = state.strays
        self._reader = LogReader(
            state.log, read_cursor(self._cursor_file), waited_for=applier.name != VISUALIZER
        )
        self._synced = self._reader.position
        self._unsynced_bytes = 0
        self._flushed_at = self._ticked_at = time.monotonic()
        applier.report_to(self._report)

    def open(self) -> None:
        """Open the applier; raises SystemExit as ``_retry``."""
        self._retry(self._applier.open)

    def run(self) -> None:
        """Work until the supervisor closes the pipe."""
        if self._synced is not None:
            # A predecessor that died right after it wrote the cursor has reported it to nobody.
            fsync_dir(self._cursor_file.parent)
            self._report({"synced": list(self._synced)})
        while True:
            moved = self.step()
            if self._commands.ended and not moved:
                break
            self._commands.wait(0.0 if moved else self._idle_s())
            if self._commands.ended:
                break
        self._flush()

    def _idle_s(self) -> float:
        """Return for how long there is nothing to do unless a message comes."""
        next_s = self._flushed_at + self._flush_pause_s()
        if self._dirty():
            next_s = min(next_s, self._ticked_at + TICK_S)
        return max(0.0, next_s - time.monotonic())

    def _tick(self) -> None:
        if time.monotonic() - self._ticked_at >= TICK_S:
            self._retry(self._applier.tick)
            self._ticked_at = time.monotonic()

    def _flush_due(self) -> bool:
        return time.monotonic() - self._flushed_at >= self._flush_pause_s()

    def _flush_pause_s(self) -> float:
        """Return how long after a flush the next one is due."""
        pause_s = self._applier.flush_every_s
        return pause_s if self._dirty() else max(pause_s, self._applier.idle_flush_s)

    def _dirty(self) -> bool:
        """Return whether the worker has read something that is not durable."""
        return self._reader.position != self._synced

    def step(self) -> bool:
        """Apply the next items, flush where it is due; return whether anything was applied."""
        moved = False
        if self._commands.durable is not None:
            before = self._reader.position
            items = self._reader.read(self._commands.durable)
            if self._reader.skipped:
                self._applier.on_log_skipped()
                self._reader.skipped = False
            after = self._reader.position
            moved = after != before
            if items:
                self._deliver(items, before)
            if moved and after is not None:
                self._unsynced_bytes += after.offset - (before.offset if before and items else 0)
                self._report({"applied": list(after)})
        tokens = [] if moved else self._commands.tokens
        self._tick()
        if tokens or self._flush_due() or self._unsynced_bytes >= FLUSH_AFTER_BYTES:
            self._flush()
            for token in tokens:
                self._report({"token": token})
            if tokens:
                self._commands.tokens = []
        return moved

    def _deliver(self, items: list[LogItem], before: CursorPosition | None) -> None:
        began = time.monotonic()
        try:
            self._applier.write(items)
        except RetryLater:
            self._save_cursor_at(before)
            self._retry(lambda: self._applier.write(items))
        self._adapt_chunk_size(time.monotonic() - began)

    def _adapt_chunk_size(self, took_s: float) -> None:
        """Choose how much to read at once, so that a step stays short: barriers and the end wait for a step."""
        size = self._reader.chunk_bytes
        if took_s > SLOW_S:
            self._reader.chunk_bytes = max(size // 2, LEAST_CHUNK_BYTES)
        elif took_s < QUICK_S:
            self._reader.chunk_bytes = min(size * 2, MOST_CHUNK_BYTES)

    def _save_cursor_at(self, position: CursorPosition | None) -> None:
        """Move the cursor to before the failed batch: the log can then delete segments.

        On a full disk this may be the only space that can be freed. Failure changes nothing.
        """
        try:
            self._applier.flush()
            if position is not None and position != self._synced:
                _write_cursor(self._cursor_file, position)
                self._synced = position
                self._report({"synced": list(position)})
        except RetryLater as error:
            logger.warning("%s did not move its cursor: %s", self._applier.name, error)

    def _flush(self) -> None:
        """Make durable what was applied, then move the cursor."""
        self._retry(self._applier.flush)
        self._flushed_at = time.monotonic()
        self._unsynced_bytes = 0
        position = self._reader.position
        if position is None or position == self._synced:
            return
        if self._reader.strays:
            self._retry(lambda: _write_strays(self._strays_file, self._reader.strays))
        self._retry(lambda: _write_cursor(self._cursor_file, position))
        self._synced = position
        self._report({"synced": list(position)})

    def _retry(self, action: Callable[[], None]) -> None:
        """Repeat ``action`` until it succeeds, with growing pauses.

        Raises:
            SystemExit: the supervisor closed the pipe during a pause, before the action succeeded.
        """
        pause_s = FIRST_RETRY_S
        longest_s = LONGEST_STORE_RETRY_S if self._applier.name == STORE else LONGEST_RETRY_S
        while True:
            try:
                action()
                return
            except RetryLater as error:
                wait_s = max(pause_s, error.after_s or 0.0)
                logger.error("%s will be tried again in %.1f s: %s", self._applier.name, wait_s, error)
                self._report({"error": str(error)})
            # Jitter: workers that one full disk stopped should not all try again at the same moment.
            self._pause(wait_s * random.uniform(0.8, 1.2))
            pause_s = min(longest_s, pause_s * 2)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._commands.wait(left)
            if self._commands.ended:
                raise SystemExit(3)


def report_on_stdout(line: dict[str, Any]) -> None:
    """Send one JSON line to the supervisor.

    Where the supervisor is gone nothing is raised: the worker first saves what it applied, and then finds the
    end of its input.
    """
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(line).encode() + b"\n")


def _write_cursor(path: Path, position: CursorPosition) -> None:
    try:
        write_json(path, {"position": list(position)}, mode=0o600)
    except OSError as error:
        raise RetryLater(f"cannot write {path.name}: {error}") from error


def _write_strays(path: Path, strays: dict[str, tuple[int, int]]) -> None:
    """Keep for ``ntrack verify`` the events of sessions whose description is damaged."""
    try:
        known = read_json(path)
    except (OSError, ValueError):
        known = None
    try:
        write_json(path, {**(known or {}), **strays}, mode=0o600)
    except OSError as error:
        raise RetryLater(f"cannot write {path.name}: {error}") from error


def hold_lock(path: Path) -> int:
    """Wait until no other process holds the lock of this cursor; return the descriptor that holds it now."""
    path.parent.mkdir(exist_ok=True)  # without its parents: a removed base_dir is not made again
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def main(arguments: list[str] | None = None) -> int:
    """Run one worker; return its exit code."""
    parser = argparse.ArgumentParser(prog="worker")
    parser.add_argument("name")
    parser.add_argument("--base-dir", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("neural").setLevel(logging.INFO)  # but not the messages of the backends' packages
    state = State(base_dir=given.base_dir, root=given.state)
    lock = hold_lock(state.cursors / f"{given.name}.lock")
    if given.name != STORE:  # the store starts no processes
        # A predecessor that was killed together with its collector may have left processes behind.
        end_leftovers(state.root, given.name, but=os.getpid())
    applier = make_applier(given.name, state)
    try:
        worker = Worker(applier, state, SupervisorCommands(0, applier))
        worker.open()
        yield_cores(NICENESS)
        worker.run()
    finally:
        applier.close()
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())

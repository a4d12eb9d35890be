"""A worker: reads the log from its cursor on and hands it to one applier, in a process of its own.

Started by the supervisor as ``python -P -m neural.tracking.collector.workers.worker <name> --base-dir B
--state S``; talks JSON lines over its pipes. In: ``{"durable": [uuid, offset]}`` how far the log may
be read, ``{"sync": token}``, ``{"run_gone": uid}``; end of input means leave. Out: ``{"applied": …}``
once a position is delivered, ``{"synced": …}`` once the cursor is durable, ``{"token": …}``,
``{"error": …}``.

The lock beside the cursor is taken before the cursor is read and kept to the end: end of input does
not prove that a predecessor is gone.
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
from typing import Any, Protocol, runtime_checkable

from neural.tracking.collector.applier import Applier
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

NICENESS = 5  # the training and the acknowledgement go first where all cores are taken
FLUSH_AFTER_S = 1.0
FLUSH_AFTER_BYTES = 16 << 20
TICK_S = 1.0
QUICK_S, SLOW_S = 0.1, 0.5  # of a step: read more for the next one, or less
IDLE_FLUSH_S = 5.0
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 60.0
LONGEST_STORE_RETRY_S = 5.0  # the disk has room again from one moment to the next, and trainers wait for it


class SupervisorCommands:
    """What the supervisor says, read without blocking for longer than asked."""

    def __init__(
        self, fd: int, run_gone: Callable[[str], None], told: Callable[[dict[str, Any]], None]
    ) -> None:
        self._fd = fd
        self._run_gone = run_gone
        self._told = told
        self._pending = b""
        self.durable: CursorPosition | None = None
        self.tokens: list[Any] = []
        self.ended = False

    def wait(self, timeout_s: float) -> None:
        """Take in what has been said; wait for the first of it at most ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not self.ended:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return
            data = os.read(self._fd, 1 << 16)
            self.ended = not data
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                self._heard(line)
            deadline = 0.0

    def _heard(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            logger.warning("line was not understood: %r", line[:200])
            return
        if not isinstance(said, dict):
            return
        if (position := parse_position(said.get("durable"))) is not None:
            self.durable = position
        if "sync" in said:
            self.tokens.append(said["sync"])
        if isinstance(said.get("run_gone"), str):
            self._run_gone(said["run_gone"])
        self._told(said)


class Worker:
    """Owns batching, retry and the cursor; the applier only translates."""

    def __init__(self, applier: Applier, state: State, commands: SupervisorCommands) -> None:
        self._applier = applier
        self._commands = commands
        self._cursor_file = state.cursors / f"{applier.name}.json"
        self._strays_file = state.strays
        self._follower = LogReader(
            state.log, read_cursor(self._cursor_file), waited_for=applier.name != VISUALIZER
        )
        self._synced = self._follower.position
        self._unsynced_bytes = 0
        self._flushed_at = self._ticked_at = time.monotonic()

    def run(self) -> None:
        """Work until the supervisor closes the pipe."""
        if self._synced is not None:
            # Nobody was told of it if the predecessor died right after writing it.
            fsync_dir(self._cursor_file.parent)
            say({"synced": list(self._synced)})
        while True:
            moved = self._step()
            if self._commands.ended and not moved:
                break
            self._commands.wait(0.0 if moved else self._idle_s())
            if self._commands.ended:
                break
        self._flush()

    def _idle_s(self) -> float:
        """Return for how long there is nothing to do unless something comes."""
        next_s = self._flushed_at + self._pause_s()
        if isinstance(self._applier, Patient) and self._dirty():
            next_s = min(next_s, self._ticked_at + TICK_S)
        return max(0.0, next_s - time.monotonic())

    def _tick(self) -> None:
        """Let an applier that is flushed seldom do what need not wait for it."""
        if isinstance(self._applier, Patient) and time.monotonic() - self._ticked_at >= TICK_S:
            self._insist(self._applier.tick)
            self._ticked_at = time.monotonic()

    def _flush_due(self) -> bool:
        return time.monotonic() - self._flushed_at >= self._pause_s()

    def _pause_s(self) -> float:
        """Return how long after a flush the next one is due."""
        if isinstance(self._applier, Paced):
            return self._applier.flush_within_s
        due = self._applier.flush_every_s if isinstance(self._applier, Patient) else FLUSH_AFTER_S
        return due if self._dirty() else max(due, IDLE_FLUSH_S)

    def _dirty(self) -> bool:
        return self._follower.position != self._synced

    def _step(self) -> bool:
        """Apply the next items, flush where it is due; return whether anything was applied."""
        moved = False
        if self._commands.durable is not None:
            before = self._follower.position
            items = self._follower.read(self._commands.durable)
            if self._follower.skipped and isinstance(self._applier, Talks):
                self._applier.skipped()
                self._follower.skipped = False
            after = self._follower.position
            moved = after != before
            if items:
                self._deliver(items, before)
            if moved and after is not None:
                self._unsynced_bytes += after.offset - (before.offset if before and items else 0)
                say({"applied": list(after)})
        tokens = [] if moved else self._commands.tokens
        self._tick()
        if tokens or self._flush_due() or self._unsynced_bytes >= FLUSH_AFTER_BYTES:
            self._flush()
            for token in tokens:
                say({"token": token})
            if tokens:
                self._commands.tokens = []
        return moved

    def _deliver(self, items: list[LogItem], before: CursorPosition | None) -> None:
        began = time.monotonic()
        try:
            self._applier.write(items)
        except RetryLater:
            self._save_place(before)
            self._insist(lambda: self._applier.write(items))
        self._suit_pace(time.monotonic() - began)

    def _suit_pace(self, took_s: float) -> None:
        """Read as much at once as makes a step short: a barrier waits for it, and so does who is to leave."""
        size = self._follower.chunk_bytes
        if took_s > SLOW_S:
            self._follower.chunk_bytes = max(size // 2, LEAST_CHUNK_BYTES)
        elif took_s < QUICK_S:
            self._follower.chunk_bytes = min(size * 2, MOST_CHUNK_BYTES)

    def _save_place(self, position: CursorPosition | None) -> None:
        """Let the log go of what was delivered before: on a full disk that may be all the room there is."""
        try:
            self._applier.flush()
            if position is not None and position != self._synced:
                _write_cursor(self._cursor_file, position)
                self._synced = position
                say({"synced": list(position)})
        except RetryLater as error:
            logger.warning("%s kept its place: %s", self._applier.name, error)

    def _flush(self) -> None:
        """Make everything delivered durable, then the cursor."""
        self._insist(self._applier.flush)
        self._flushed_at = time.monotonic()
        self._unsynced_bytes = 0
        position = self._follower.position
        if position is None or position == self._synced:
            return
        if self._follower.strays:
            self._insist(lambda: _write_strays(self._strays_file, self._follower.strays))
        self._insist(lambda: _write_cursor(self._cursor_file, position))
        self._synced = position
        say({"synced": list(position)})

    def _insist(self, action: Callable[[], None]) -> None:
        """Repeat ``action`` until it succeeds, with growing pauses; give up only when told to leave.

        Raises:
            SystemExit: the supervisor closed the pipe while the applier could not be reached.
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
                say({"error": str(error)})
            # Jitter, so that workers stopped by the same full disk do not all come back at once.
            self._pause(wait_s * random.uniform(0.8, 1.2))
            pause_s = min(longest_s, pause_s * 2)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._commands.wait(left)
            if self._commands.ended:
                raise SystemExit(3)


@runtime_checkable
class Paced(Protocol):
    """An applier that says itself how soon it wants to be flushed next, also when nothing comes."""

    @property
    def flush_within_s(self) -> float:
        """Return the seconds between two flushes, as of now."""


@runtime_checkable
class Patient(Protocol):
    """An applier whose flush is dear: called every so often, with a tick in between."""

    @property
    def flush_every_s(self) -> float:
        """How long what was applied may wait to be made durable."""

    def tick(self) -> None:
        """Do what need not wait for the flush. Raises RetryLater."""


@runtime_checkable
class Talks(Protocol):
    """An applier that tells the supervisor more than positions, and wants to know of holes in the log."""

    def connected(self, say: Callable[[dict[str, Any]], None]) -> None:
        """Take the way to tell the supervisor."""

    def skipped(self) -> None:
        """The log does not go on where the cursor was."""


def say(line: dict[str, Any]) -> None:
    """Tell the supervisor; where it is gone the end of input says so, once what was applied is saved."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(line).encode() + b"\n")


def _write_cursor(path: Path, position: CursorPosition) -> None:
    try:
        write_json(path, {"position": list(position)}, mode=0o600)
    except OSError as error:
        raise RetryLater(f"cannot write {path.name}: {error}") from error


def _write_strays(path: Path, strays: dict[str, tuple[int, int]]) -> None:
    """Keep for ``verify`` what could be given to no run."""
    try:
        known = read_json(path)
    except (OSError, ValueError):
        known = None
    try:
        write_json(path, {**(known or {}), **strays}, mode=0o600)
    except OSError as error:
        raise RetryLater(f"cannot write {path.name}: {error}") from error


def hold_lock(path: Path) -> int:
    """Wait until no predecessor works on this cursor; return the descriptor that keeps the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
    logging.getLogger("neural").setLevel(logging.INFO)  # and not what backends' packages say of themselves
    state = State(base_dir=given.base_dir, root=given.state)
    lock = hold_lock(state.cursors / f"{given.name}.lock")
    if given.name != STORE:  # which starts nothing
        end_leftovers(state.root, given.name, but=os.getpid())  # of one whose collector was killed as well
    applier = make_applier(given.name, state)
    gone = getattr(applier, "run_gone", lambda uid: None)
    told = getattr(applier, "told", lambda line: None)
    if isinstance(applier, Talks):
        applier.connected(say)
    commands = SupervisorCommands(0, gone, told)
    try:
        worker = Worker(applier, state, commands)
        worker._insist(applier.open)
        yield_cores(NICENESS)
        worker.run()
    finally:
        applier.close()
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())

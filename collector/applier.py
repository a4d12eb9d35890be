"""The contract between a worker and its applier: the store, the visualizer, and every sink.

A worker is a process that reads the log from its cursor on. It hands what it reads to one applier. The worker
owns reading, retry, backoff and the cursor; an applier only translates and writes. One thread makes all calls,
so an applier needs no lock for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neural.tracking.collector.log.items import LogItem

Report = Callable[[dict[str, Any]], None]

FLUSH_EVERY_S = 1.0
IDLE_FLUSH_S = 5.0


class Applier:
    """Base class of what a worker applies the log to. Each method does nothing until a subclass overrides it.

    A useful applier overrides ``open``, ``write``, ``flush`` and ``close``; the others are for appliers that
    need more. The worker calls in this order: ``report_to``; ``open`` until it returns; then ``write``,
    ``tick``, ``flush`` and the ``on_…`` methods, many times; ``close``.

    For every method: RetryLater is raised only where "Raises" names it. Any other exception ends the process.
    The supervisor then starts a new one, which reads the log again from the durable cursor. A call may block as
    long as its work takes, but the supervisor's messages and barriers wait meanwhile.
    """

    name: str  # which worker this is: its cursor and its lock are files of this name

    @property
    def flush_every_s(self) -> float:
        """For how many seconds an applied item may wait until ``flush`` makes it durable.

        The worker reads it before each pause. A larger value suits an expensive flush. The worker flushes
        earlier where a barrier waits for it, or where much was applied.
        """
        return FLUSH_EVERY_S

    @property
    def idle_flush_s(self) -> float:
        """How many seconds lie between two calls of ``flush`` while nothing is applied.

        It counts only where it is longer than ``flush_every_s``. The worker reads it before each pause, so an
        applier with a timetable returns here how soon it next has something to do.
        """
        return IDLE_FLUSH_S

    def report_to(self, report: Report) -> None:
        """Take the function that sends one JSON object to the supervisor.

        Called once, before ``open``. An applier may call ``report`` during every later call; it does not raise
        where the supervisor is gone. ``WorkerHandle`` says which keys the supervisor knows.
        """

    def open(self) -> None:
        """Connect, and read what a predecessor left.

        Called after ``report_to``, and again after a call that failed: a second call must be safe. May block.
        ``on_command`` and ``on_run_removed`` may be called between two of these calls.

        Raises:
            RetryLater: not now. The worker waits, with growing pauses, and calls again.
        """

    def write(self, batch: Sequence[LogItem]) -> None:
        """Apply all items of the batch, in order, or raise.

        Called for each piece that the worker reads from the log; the payloads of the items are valid during
        the call only. After a crash the items since the last durable cursor come again, with the same
        ``(session, seq)``, and after RetryLater the same batch: applying items twice must leave the same as
        applying them once. May block; the worker reads smaller pieces from then on where a call takes long.

        Raises:
            RetryLater: for every failure of the environment: full disk, dead server, timeout. The worker calls
                ``flush`` once, waits, and calls with the same batch until it returns.
        """

    def tick(self) -> None:
        """Do what should not wait for the next flush.

        Called about once a second while something is not flushed yet, now and then otherwise. Only an applier
        with an expensive flush needs it. May block.

        Raises:
            RetryLater: the worker waits, with growing pauses, and calls again.
        """

    def flush(self) -> None:
        """Return once everything that was applied is durable. The cursor moves after it, and only then.

        Called when ``flush_every_s`` or ``idle_flush_s`` is over, when a barrier waits, after 16 MiB, after a
        failed ``write``, and once before the worker leaves; also when nothing was applied since the last call.
        May block.

        Raises:
            RetryLater: it is not durable yet. The worker waits, with growing pauses, and calls again. The
                cursor stays where it is.
        """

    def close(self) -> None:
        """Let go of all files, connections and processes.

        Called once as the last call, also when ``open`` never succeeded or another call raised. What is not
        flushed may be lost: the log has it. Must not block for long, since a successor waits for the lock.
        Must not raise.
        """

    def on_command(self, command: Mapping[str, Any]) -> None:
        """Take note of one message of the supervisor.

        Called for every message, also for those that the worker itself acts on: ignore unknown keys. It may
        come at any time between two other calls, also between a failed ``write`` and the next try, so it
        should only remember what is to be done. Must not block.
        """

    def on_run_removed(self, uid: str) -> None:
        """Forget a run: it was removed, and nothing of it may be written any more.

        Called with the 32 hex digits of the run's uid, at the same moments as ``on_command``. May come for a
        run that this applier never met. Whoever removes the run waits for it: return soon.
        """

    def on_log_skipped(self) -> None:
        """Find by other means what was missed: the log does not go on where the cursor was.

        Called before the ``write`` of what comes after the hole. Segments were deleted, or are damaged, or the
        log does not wait for this worker. The run folders have what the store applied. May block.
        """

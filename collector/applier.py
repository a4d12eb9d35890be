"""The contract between a worker and what it applies the log to: the store, the plots, every sink.

An applier runs in a worker process of its own and is called by one thread. The worker owns reading
the log, retry, backoff and the cursor; an applier only translates and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neural.tracking.collector.log.items import LogItem


class Applier(Protocol):
    """What a worker applies the log to.

    Calls arrive in this order: ``open``, then ``write`` and ``flush`` many times, ``close``.
    """

    name: str

    def open(self) -> None:
        """Connect. May block. Must be safe to call again after a failed call."""

    def write(self, batch: Sequence[LogItem]) -> None:
        """Apply the whole batch or raise.

        After a crash the same items come again, with the same ``(session, seq)``, so applying them
        twice must be as applying them once.

        Raises:
            RetryLater: the worker waits and calls again with the same batch. Every trouble of the
                world: full disk, dead server, timeout.
        """

    def flush(self) -> None:
        """Return once all that was applied is durable; the cursor moves after it.

        Called about every second while there was something to write, and now and then when idle.
        Raises RetryLater as ``write``.
        """

    def close(self) -> None:
        """Let go. Called once, also when ``open`` never succeeded."""

"""The collector's life: its parts in the order data flows, one written order of starting and stopping.

Parts start from the end of the pipe, so that nothing comes in before all can take it, and drain from
its mouth, under one deadline. The lock is let go last, after the ZeroMQ context is gone: libzmq
unlinks socket files late, and a successor's could be among them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from neural.tracking.collector.lock import Lock
from neural.tracking.core.config import CollectorConfig
from neural.tracking.core.exit_status import EXIT_FAILED, EXIT_LEFT, EXIT_OK
from neural.tracking.remote.keys import Pair
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)

FAILED_DRAIN_S = 2.0  # after a failure there is little worth waiting for, and a successor may be


class DaemonPart(Protocol):
    """Something the daemon starts and stops."""

    name: str

    async def start(self) -> None:
        """Return once ready to work; raise if that cannot be."""

    async def drain(self, deadline: float) -> int:
        """Take nothing new, finish what is held, return how much was left.

        Must return by ``deadline`` (``time.monotonic()`` seconds) and be safe to call twice.
        """


class Daemon:
    """Starts the parts, waits to be asked to stop, drains them."""

    def __init__(self, parts: Sequence[DaemonPart], *, drain_timeout_s: float) -> None:
        self.failure: BaseException | None = None
        self._parts = list(parts)
        self._drain_timeout_s = drain_timeout_s
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Work until asked to stop; return 0, 1 after a failure, 3 if anything was left."""
        started: list[DaemonPart] = []
        clean = True
        try:
            for part in reversed(self._parts):
                await part.start()
                started.append(part)
            await self._stop.wait()
        except Exception as error:  # a part that cannot start ends the daemon, after the others drained
            logger.exception("collector failed")
            self.failure = error
        finally:
            clean = await self._drain(list(reversed(started)))
        if self.failure is not None:
            return EXIT_FAILED
        return EXIT_OK if clean else EXIT_LEFT

    def request_stop(self) -> None:
        """Ask for a drain; on the event loop only, where asyncio delivers signals too."""
        self._stop.set()

    def fail(self, error: BaseException) -> None:
        """End with exit code 1: a part can no longer keep its promise."""
        logger.critical("collector stopped: %s", error)
        self.failure = self.failure or error
        self._stop.set()

    async def _drain(self, parts: Sequence[DaemonPart]) -> bool:
        patience_s = self._drain_timeout_s if self.failure is None else FAILED_DRAIN_S
        deadline = time.monotonic() + patience_s
        clean = True
        for part in parts:
            try:
                left = await part.drain(deadline)
            except Exception:  # one broken part must not keep the others from draining
                logger.exception("%s failed to drain", part.name)
                clean = False
                continue
            if left:
                logger.error("%s stopped with %d left", part.name, left)
                clean = False
        return clean


def run(
    base_dir: Path,
    lock: Lock,
    state: State,
    config: CollectorConfig,
    *,
    auto: bool,
    pair: Pair | None = None,
) -> int:
    """Be the collector of ``base_dir`` until stopped; the lock is held already. Return the exit code.

    ``pair`` is what it shows to other hosts, given where it listens to any.
    """
    return asyncio.run(_main(base_dir, lock, state, config, auto, pair))


async def _main(
    base_dir: Path, lock: Lock, state: State, config: CollectorConfig, auto: bool, pair: Pair | None
) -> int:
    from neural.tracking.collector.collector import Collector

    collector = Collector(base_dir, lock, state, config, auto=auto, pair=pair)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, collector.daemon.request_stop)
    try:
        return await collector.daemon.run()
    finally:
        collector.close()

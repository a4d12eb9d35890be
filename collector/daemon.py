"""The collector's lifecycle: its parts in the order of the data flow, one order of starting and of stopping.

Parts start from the end of the flow, so that nothing comes in before every part can take it. They drain from
its beginning, with one deadline. The lock is released last, after the ZeroMQ context is closed: libzmq unlinks
socket files late, and a successor's could be among them.
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

FAILED_DRAIN_S = 2.0  # after a failure little is worth waiting for, and a successor may wait


class DaemonPart(Protocol):
    """A part that the daemon starts and stops."""

    name: str

    async def start(self) -> None:
        """Return once the part is ready; raise if it cannot be. May wait for the disk."""

    async def drain(self, deadline: float) -> int:
        """Take nothing new, finish what is held, return how much was left.

        Must return by ``deadline`` (``time.monotonic()`` seconds). A second call must be safe.
        """


class Daemon:
    """Starts the parts, waits until it is asked to stop, and drains them."""

    def __init__(self, parts: Sequence[DaemonPart], *, drain_timeout_s: float) -> None:
        self.failure: BaseException | None = None
        self._parts = list(parts)
        self._drain_timeout_s = drain_timeout_s
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run until asked to stop; return 0, or 1 after a failure, or 3 if anything was left."""
        started: list[DaemonPart] = []
        clean = True
        try:
            for part in reversed(self._parts):
                await part.start()
                started.append(part)
            await self._stop.wait()
        except Exception as error:  # a part that cannot start ends the daemon, after the others have drained
            logger.exception("collector failed")
            self.failure = error
        finally:
            clean = await self._drain(list(reversed(started)))
        if self.failure is not None:
            return EXIT_FAILED
        return EXIT_OK if clean else EXIT_LEFT

    def request_stop(self) -> None:
        """Ask for a drain. Never blocks; call it on the event loop, where asyncio delivers signals, too."""
        self._stop.set()

    def fail(self, error: BaseException) -> None:
        """Stop with exit code 1: a part cannot do its work any more. Never blocks."""
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
            except Exception:  # one broken part must not prevent the drain of the others
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
    """Run the collector of ``base_dir`` until it is stopped; return the exit code. Blocks until then.

    The lock must be held already. ``pair`` is the key pair that it shows to other hosts; it is given if the
    collector listens to any.
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

"""Looks every second whether all is in place, what can go, and whether the collector may leave."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING

from neural.tracking import __version__
from neural.tracking.collector.log.sessions import START
from neural.tracking.collector.log.writer import LogFailed
from neural.tracking.core import files
from neural.tracking.formats import wire
from neural.tracking.state.quarantine import any_quarantined

if TYPE_CHECKING:
    from neural.tracking.collector.collector import Collector

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class Housekeeper:
    """A part of the daemon: looks every second whether all is in place, what can go, whether to leave."""

    name = "housekeeper"

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._busy_s = time.monotonic()
        self._passed = START
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell where the collector is, now that it can be reached."""
        await asyncio.to_thread(self._write_endpoint)
        for name in await asyncio.to_thread(self._collector.roster.errands):
            self._collector.supervisor.errand(name)
        self._task = asyncio.create_task(self._look_forever(), name="housekeeper")

    async def drain(self, deadline: float) -> int:
        """Stop looking; take back the address."""
        if self._task is not None:
            if self._collector.lock.in_place():  # else it is a successor's
                self._collector.state.endpoint_file.unlink(missing_ok=True)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        return 0

    def _write_endpoint(self) -> None:
        collector, state = self._collector, self._collector.state
        about = {
            "data": f"ipc://{state.data_socket}",
            "remote": collector.doors.remote_address,
            "control": f"ipc://{state.control_socket}",
            "pid": os.getpid(),
            "log_id": collector.log.log_id.hex(),
            "protocol": wire.PROTOCOL,
            "version": __version__,
        }
        files.write_json(state.endpoint_file, about, durable=False, mode=0o600)

    async def _look_forever(self) -> None:
        collector = self._collector
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self._check_place()
                self._look_at_sinks()
                self._delete_passed()
                collector.contacts.look()
                if any_quarantined(collector.state):
                    collector.barriers.look_again()
            except LogFailed as error:
                collector.daemon.fail(error)
                return
            except OSError as error:
                logger.warning("passed log segments stay for now: %s", error)
            # One that other hosts rely on stays: none of them could start it again.
            if collector.auto and collector.config.listen is None and self._may_leave():
                logger.info("collector leaves after %.0f idle seconds", collector.config.idle_exit_s)
                collector.daemon.request_stop()
                return

    def _check_place(self) -> None:
        """Raise LogFailed where something is gone without which nobody finds this collector, or its log."""
        collector, state = self._collector, self._collector.state
        collector.log.check_place()
        if not collector.lock.in_place():
            raise LogFailed(f"the lock {collector.lock.path} is gone")
        # A predecessor whose folder was removed takes them along: ZeroMQ unlinks a socket by its path.
        for path in (state.endpoint_file, state.data_socket, state.control_socket):
            if not path.exists():
                raise LogFailed(f"{path} is gone")

    def _look_at_sinks(self) -> None:
        """Follow the configuration and the runs, before the log lets go of what a new sink would want."""
        collector = self._collector
        changed, named = collector.roster.read_file(), collector.roster.heard(collector.sessions)
        if changed or named:
            collector.supervisor.set_workers(collector.roster.specs())
        collector.supervisor.review(collector.log.bytes_beyond)

    def _delete_passed(self) -> None:
        synced = self._collector.supervisor.synced()
        self._collector.sessions.forget_passed(synced)
        self._collector.log.delete_passed(synced)
        if synced != self._passed:
            self._passed = synced
            self._collector.log.try_now()

    def _may_leave(self) -> bool:
        """Return whether it idled long enough, and nobody came while the door was being closed."""
        collector = self._collector
        if self._is_busy():
            self._busy_s = time.monotonic()
        if time.monotonic() - self._busy_s < collector.config.idle_exit_s:
            return False
        collector.inbox.unbind()
        if not self._is_busy():
            return True
        collector.inbox.rebind()
        self._busy_s = time.monotonic()
        return False

    def _is_busy(self) -> bool:
        collector = self._collector
        return bool(
            collector.adopter.anything_there()
            or collector.supervisor.undelivered()
            or collector.log.held_bytes
            or collector.artifacts.busy()
        )

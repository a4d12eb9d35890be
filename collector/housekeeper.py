"""Does every second what no event triggers: reads settings, deletes log segments, lets the collector leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from neural.tracking.collector.endpoint import Endpoint
from neural.tracking.collector.idle_exit import IdleExit
from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.ingest.lost_contact import LostContacts
from neural.tracking.collector.log.sessions import START, Sessions
from neural.tracking.collector.log.writer import LogFailed, LogWriter
from neural.tracking.collector.workers.sink_roster import SinkRoster
from neural.tracking.collector.workers.supervisor import Supervisor

logger = logging.getLogger(__name__)

PERIOD_S = 1.0


class Housekeeper:
    """A part of the daemon.

    Args:
        idle_exit: decides whether to leave; None for a collector that stays until it is stopped.
        any_quarantined: returns whether the store has a run in quarantine. Blocks briefly on the disk.
        on_failed: is called once if the log, or a file by which others find the collector, is gone.
        on_idle: is called once when the collector may leave.
    """

    name = "housekeeper"

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        log: LogWriter,
        sessions: Sessions,
        contacts: LostContacts,
        barriers: Barriers,
        roster: SinkRoster,
        supervisor: Supervisor,
        idle_exit: IdleExit | None,
        any_quarantined: Callable[[], bool],
        on_failed: Callable[[LogFailed], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._log = log
        self._sessions = sessions
        self._contacts = contacts
        self._barriers = barriers
        self._roster = roster
        self._supervisor = supervisor
        self._idle_exit = idle_exit
        self._any_quarantined = any_quarantined
        self._on_failed = on_failed
        self._on_idle = on_idle
        self._synced = START
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Pass on the requests to sinks that came while no collector ran; start to work. Waits for the disk."""
        for name in await asyncio.to_thread(self._roster.pending_errands):
            self._supervisor.errand(name)
        self._task = asyncio.create_task(self._run_forever(), name="housekeeper")

    async def drain(self, deadline: float) -> int:
        """Stop the work."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        return 0

    async def _run_forever(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                self._run_once()
            except LogFailed as error:
                self._on_failed(error)
                return
            except OSError as error:
                logger.warning("passed log segments stay for now: %s", error)
            if self._idle_exit is not None and self._idle_exit.may_leave():
                logger.info("collector leaves after %.0f idle seconds", self._idle_exit.idle_exit_s)
                self._on_idle()
                return

    def _run_once(self) -> None:
        self._log.check_in_place()
        self._endpoint.check()
        self._follow_settings()
        self._delete_passed()
        self._contacts.check()
        if self._any_quarantined():
            self._barriers.recheck()

    def _follow_settings(self) -> None:
        """Start and stop the workers of sinks, before the log deletes what a new sink would need."""
        changed, named = self._roster.reload_file(), self._roster.add_named(self._sessions)
        if changed or named:
            self._supervisor.set_workers(self._roster.specs())
        self._supervisor.review(self._log.bytes_beyond)

    def _delete_passed(self) -> None:
        """Delete the log segments that every cursor has passed."""
        synced = self._supervisor.synced()
        self._sessions.forget_passed(synced)
        self._log.delete_passed(synced)
        if synced != self._synced:
            self._synced = synced
            self._log.retry_now()

"""The commands of the control socket: what ``ntrack`` and managers ask a running collector to do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural.tracking import __version__
from neural.tracking.collector.artifacts.artifact_store import ArtifactStore
from neural.tracking.collector.control_server import Command
from neural.tracking.collector.ingest.adopter import Adopter
from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.ingest.inbox import Inbox
from neural.tracking.collector.ingest.removals import Removals
from neural.tracking.collector.log.sessions import Sessions
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.collector.workers.sink_roster import SinkRoster
from neural.tracking.collector.workers.specs import STORE
from neural.tracking.collector.workers.supervisor import Supervisor
from neural.tracking.core.files import take_away
from neural.tracking.formats import wire
from neural.tracking.reader import run_list
from neural.tracking.reader.facts import remote_sessions
from neural.tracking.reader.run import Run

ANSWER_LEAVES_S = 0.05
STORE_SETTLES_S = 10.0


class ControlCommands:
    """Each method answers one command: a map in, a map out. A ValueError or OSError becomes an error text.

    Args:
        status: returns the answer to ``status``.
        request_stop: asks the daemon to stop.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        log: LogWriter,
        sessions: Sessions,
        inbox: Inbox,
        barriers: Barriers,
        removals: Removals,
        adopter: Adopter,
        artifacts: ArtifactStore,
        roster: SinkRoster,
        supervisor: Supervisor,
        status: Command,
        request_stop: Callable[[], None],
    ) -> None:
        self._base_dir = base_dir
        self._log = log
        self._sessions = sessions
        self._inbox = inbox
        self._barriers = barriers
        self._removals = removals
        self._adopter = adopter
        self._artifacts = artifacts
        self._roster = roster
        self._supervisor = supervisor
        self._request_stop = request_stop
        self.by_name: dict[str, Command] = {
            "ping": self._ping,
            "status": status,
            "stop": self._stop,
            "adopt": self._adopt,
            "sync": self._sync,
            "delete": self._delete,
            "sinks": self._sinks,
            "errand": self._errand,
            "prune": self._prune,
        }

    async def _ping(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), "version": __version__, "protocol": wire.PROTOCOL}

    async def _stop(self, request: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(ANSWER_LEAVES_S, self._request_stop)
        return {"pid": os.getpid()}

    async def _adopt(self, request: dict[str, Any]) -> dict[str, Any]:
        self._adopter.scan_now()
        return {}

    async def _sync(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait until the store has applied everything that is durable now, at most ``timeout_s`` seconds."""
        goal = self._log.durable
        deadline = time.monotonic() + min(60.0, float(request.get("timeout_s", 5.0)))
        while self._barriers.applied < goal and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return {"applied": self._barriers.applied >= goal}

    async def _delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """Delete a run: write its tombstone, stop its senders, make the store close it, remove its folder.

        Of a copy only the folder goes: the run stays in the folder that it was copied from.
        """
        uid = _uid_of(request, "delete wants the run's uid, 16 bytes")
        run = await self._named_run(request, uid)
        if run is not None and await asyncio.to_thread(run_list.is_copy, self._base_dir, run):
            await asyncio.to_thread(take_away, run.folder)
            return {"removed": True, **await self._artifacts.sweep()}
        with self._removals.under_way(uid):
            remote = [] if run is None else await asyncio.to_thread(remote_sessions, run.folder)
            remote += [s.id.hex() for s in self._sessions if s.uid == uid and s.is_remote]
            folder = "" if run is None else run.folder.name
            await asyncio.to_thread(self._removals.record, uid, folder, remote)
            await self._inbox.refuse_run(uid)
            self._supervisor.broadcast({"run_gone": uid.hex()})
            await self._supervisor.send_and_wait(STORE, {"run_gone": uid.hex()}, STORE_SETTLES_S)
            if run is not None:
                await asyncio.to_thread(take_away, run.folder)
        return {"removed": run is not None, **await self._artifacts.sweep()}

    async def _sinks(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read the configuration of the sinks again, now."""
        await asyncio.to_thread(self._roster.reload)
        self._supervisor.set_workers(self._roster.specs())
        return {"trouble": self._roster.config_error}

    async def _errand(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell a sink's worker that there is a request for it."""
        await self._sinks(request)
        return {"known": self._supervisor.errand(str(request.get("sink")))}

    async def _prune(self, request: dict[str, Any]) -> dict[str, Any]:
        """Remove versions, given as (session, event number), from the folder ``dir``; then sweep the blobs."""
        wanted = request.get("versions")
        if not wanted:
            return await self._artifacts.sweep()
        uid = _uid_of(request, refusal := "prune wants the run's uid, 16 bytes, and a list of versions")
        if not isinstance(wanted, list):
            raise ValueError(refusal)
        run = await self._named_run(request, uid)
        if run is None:
            raise FileNotFoundError(2, "no such run", f"{self._base_dir}/*_{uid.hex()[:8]}")
        chosen = {(str(session), int(seq)) for session, seq in wanted}
        return await self._artifacts.prune(run, chosen, timeout_s=float(request.get("timeout_s", 20.0)))

    async def _named_run(self, request: dict[str, Any], uid: bytes) -> Run | None:
        return await asyncio.to_thread(run_list.named_folder, self._base_dir, uid, request.get("dir"))


def _uid_of(request: dict[str, Any], refusal: str) -> bytes:
    uid = request.get("uid")
    if not isinstance(uid, bytes) or len(uid) != 16:
        raise ValueError(refusal)
    return uid

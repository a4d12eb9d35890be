"""The collector put together: which part hangs on which, what ``status`` tells, when it leaves by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import zmq

from neural.tracking import __version__
from neural.tracking.collector.artifacts.artifact_store import ArtifactStore
from neural.tracking.collector.artifacts.uploads import Uploads
from neural.tracking.collector.control_server import ControlServer
from neural.tracking.collector.daemon import Daemon, DaemonPart
from neural.tracking.collector.housekeeper import Housekeeper
from neural.tracking.collector.ingest.adopter import Adopter
from neural.tracking.collector.ingest.authenticator import Authenticator
from neural.tracking.collector.ingest.barriers import Barriers
from neural.tracking.collector.ingest.inbox import Inbox
from neural.tracking.collector.ingest.listeners import Listeners
from neural.tracking.collector.ingest.lost_contact import LostContacts
from neural.tracking.collector.ingest.removals import Removals
from neural.tracking.collector.ingest.sequencer import Sequencer
from neural.tracking.collector.lock import Lock
from neural.tracking.collector.log import disk_reserve
from neural.tracking.collector.log.sessions import VIA, Position, Sessions, SessionState
from neural.tracking.collector.log.writer import LogFailed, LogWriter
from neural.tracking.collector.workers.sink_roster import SinkRoster
from neural.tracking.collector.workers.specs import STORE
from neural.tracking.collector.workers.supervisor import Supervisor
from neural.tracking.core.address import next_port
from neural.tracking.core.config import CollectorConfig
from neural.tracking.core.files import take_away
from neural.tracking.formats import wire
from neural.tracking.reader import run_list
from neural.tracking.reader.facts import sessions_from_afar
from neural.tracking.remote import keys
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import is_quarantined, list_quarantined
from neural.tracking.state.tombstones import Tombstones

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class Collector:
    """All parts of one collector, and the commands that concern more than one of them."""

    def __init__(
        self,
        base_dir: Path,
        lock: Lock,
        state: State,
        config: CollectorConfig,
        *,
        auto: bool,
        pair: keys.Pair | None = None,
    ) -> None:
        self.started_ns = time.time_ns()
        self.state, self.lock, self.config, self.auto = state, lock, config, auto
        self.base_dir = base_dir
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self.sessions = Sessions()
        self.barriers = Barriers(lambda uid: is_quarantined(state, uid))
        self.log = LogWriter(
            state.log,
            self.sessions,
            segment_bytes=config.segment_bytes,
            on_recovered=self._on_recovered,
            on_committed=self._on_committed,
            on_failed=self._on_failed,
            host_went_down=lock.host_went_down(),
            leave_room=self._leave_room,
        )
        self.removals = Removals(Tombstones(state.tombstones), state.collector_id)
        self.intake = Sequencer(base_dir, self.log, self.sessions, self.removals)
        self.roster = SinkRoster(state)
        self.supervisor = Supervisor(
            state,
            self.sessions,
            specs=self.roster.specs(),
            locate=self.log.ordinal_of,
            on_applied=self._on_applied,
        )
        self.artifacts = ArtifactStore(state, self.intake, self.sessions, lambda: self.barriers.applied)
        self.adopter = Adopter(state, self.intake, self.log, self.sessions)
        self.pair = pair
        self.gate = Authenticator(self.context, state.keys)
        self.uploads: Uploads | None = None
        if pair is not None and config.listen is not None:
            address = next_port(config.listen)
            self.uploads = Uploads(self.context, state, self.gate, self.artifacts, pair, address)
        self.doors = Listeners(self.context, state, self.gate, config.listen, pair, self._upload_port)
        self.contacts = LostContacts(self.sessions, self.intake, config.lost_contact_s)
        self.inbox = Inbox(
            self.doors,
            self.intake,
            self.log,
            self.sessions,
            self.barriers,
            self.contacts,
            on_greeted=self.adopter.watch,
            unheeded=self.roster.unheeded,
        )
        self.intake.on_durable = self.inbox.on_durable
        self.control = ControlServer(
            self.context,
            state,
            {
                "ping": self._ping,
                "status": self._status,
                "stop": self._stop,
                "adopt": self._adopt,
                "sync": self._sync,
                "delete": self._delete,
                "sinks": self._sinks,
                "errand": self._errand,
                "prune": self._prune,
            },
        )
        self.keeper = Housekeeper(self)
        self.daemon = Daemon(
            [
                self.keeper,
                self.control,
                self.inbox,
                *self._remote_parts(),
                self.adopter,
                self.artifacts,
                self.log,
                self.supervisor,
            ],
            drain_timeout_s=config.drain_timeout_s,
        )

    def close(self) -> None:
        """Close the sockets, end the context, and only then let go of the lock."""
        self.inbox.close()
        self.context.term()
        if self.lock.in_place():  # else they are a successor's
            for socket_file in (self.state.data_socket, self.state.control_socket):
                socket_file.unlink(missing_ok=True)  # ZeroMQ leaves them
        self.lock.release()

    def _on_recovered(self) -> None:
        self.supervisor.log_known(self.log.durable)
        self.intake.record_lost(self.log.lost)

    def _on_committed(self, position: Position) -> None:
        self.supervisor.on_committed(position)
        self.inbox.on_committed(position)

    def _leave_room(self, more_bytes: int) -> None:
        undelivered = self.log.bytes_beyond(self.supervisor.synced()) + more_bytes
        disk_reserve.leave_some(self.state.log, self.base_dir, undelivered)

    def _upload_port(self) -> int:
        return 0 if self.uploads is None else self.uploads.port

    def _on_failed(self, error: LogFailed) -> None:
        self.daemon.fail(error)

    def _on_applied(self, position: Position) -> None:
        self.barriers.on_applied(position)
        self.artifacts.wake()
        for session in self.sessions:
            session.applied(position)

    async def _ping(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), "version": __version__, "protocol": wire.PROTOCOL}

    async def _stop(self, asked: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.05, self.daemon.request_stop)  # after the answer left
        return {"pid": os.getpid()}

    async def _adopt(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.adopter.look_now()
        return {}

    async def _sync(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Wait until everything durable now is applied by the store, at most ``timeout_s``."""
        goal = self.log.durable
        deadline = time.monotonic() + min(60.0, float(asked.get("timeout_s", 5.0)))
        while self.barriers.applied < goal and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return {"applied": self.barriers.applied >= goal}

    async def _delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Delete a run: tombstone first, then its senders, the store's hold on it, its folder.

        Of a copy only its folder goes: the run lives on in the one it was copied from.
        """
        uid = asked.get("uid")
        if not isinstance(uid, bytes) or len(uid) != 16:
            raise ValueError("delete wants the run's uid, 16 bytes")
        run = await asyncio.to_thread(run_list.named_folder, self.base_dir, uid, asked.get("dir"))
        if run is not None and await asyncio.to_thread(run_list.is_copy, self.base_dir, run):
            await asyncio.to_thread(take_away, run.folder)
            return {"removed": True, **await self.artifacts.sweep()}
        with self.removals.under_way(uid):
            afar = [] if run is None else await asyncio.to_thread(sessions_from_afar, run.folder)
            afar += [session.id.hex() for session in self.sessions if session.uid == uid and session.is_remote]
            await asyncio.to_thread(self.removals.record, uid, "" if run is None else run.folder.name, afar)
            await self.inbox.refuse_run(uid)
            self.supervisor.tell({"run_gone": uid.hex()})
            await self.supervisor.settle(STORE, {"run_gone": uid.hex()}, 10.0)
            if run is not None:
                await asyncio.to_thread(take_away, run.folder)
        return {"removed": run is not None, **await self.artifacts.sweep()}

    async def _sinks(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Read the configured sinks again, now."""
        await asyncio.to_thread(self.roster.look)
        self.supervisor.set_workers(self.roster.specs())
        return {"trouble": self.roster.trouble}

    async def _errand(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Let a sink look at what it was asked for."""
        await self._sinks(asked)
        return {"known": self.supervisor.errand(str(asked.get("sink")))}

    async def _prune(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Remove versions, as (session, number of event), from the folder ``dir``; then what is nobody's."""
        uid, wanted = asked.get("uid"), asked.get("versions")
        if not wanted:
            return await self.artifacts.sweep()
        if not isinstance(uid, bytes) or len(uid) != 16 or not isinstance(wanted, list):
            raise ValueError("prune wants the run's uid, 16 bytes, and a list of versions")
        run = await asyncio.to_thread(run_list.named_folder, self.base_dir, uid, asked.get("dir"))
        if run is None:
            raise FileNotFoundError(2, "no such run", f"{self.base_dir}/*_{uid.hex()[:8]}")
        chosen = {(str(session), int(seq)) for session, seq in wanted}
        return await self.artifacts.prune(run, chosen, timeout_s=float(asked.get("timeout_s", 20.0)))

    async def _status(self, asked: dict[str, Any]) -> dict[str, Any]:
        durable = self.log.durable
        size = await asyncio.to_thread(self.log.stored_bytes)
        quarantined = await asyncio.to_thread(list_quarantined, self.state)
        return {
            "pid": os.getpid(),
            "version": __version__,
            "started_ns": self.started_ns,
            "log_id": self.log.log_id.hex(),
            "base_dir": str(self.base_dir),
            "state_dir": str(self.state.root),
            "auto": self.auto,
            "remote": self._remote(),
            "sessions": [{**_told(s), "unheeded": self.roster.unheeded(s)} for s in self.sessions],
            "log": {
                "segments": len(self.log.segments),
                "bytes": size,
                "durable": durable.told(),
                "held_bytes": self.log.held_bytes,
            },
            "workers": self.supervisor.status(),
            "quarantined": [run.told() for run in quarantined],
            "sinks_trouble": self.roster.trouble,
            "disk": {"state": "full" if self.log.trouble else "ok", "error": self.log.trouble},
            "events_total": self.intake.events_total,
            "repeated_total": self.intake.repeated_total,
            "refused_total": self.inbox.refused_total,
            "adopted_total": self.adopter.adopted_total,
            "artifacts": self.artifacts.status(),
        }

    def _remote_parts(self) -> list[DaemonPart]:
        return [] if self.uploads is None else [self.uploads, self.gate]

    def _remote(self) -> dict[str, Any] | None:
        """Return where it listens to other hosts, as whom, and whom it lets in; None where it does not."""
        if self.pair is None or self.doors.remote_address is None:
            return None
        public = keys.public_text(self.pair.public)
        uploads = None if self.uploads is None else self.uploads.status()
        return {"address": self.doors.remote_address, "key": public, "uploads": uploads, **self.gate.status()}


def _told(session: SessionState) -> dict[str, Any]:
    ended = "ended" if session.ended is not None else None
    return {
        "session": session.id.hex(),
        "uid": session.uid.hex(),
        "name": session.info.get("name"),
        "rank": session.info.get("rank"),
        "pid": session.info.get("pid"),
        "host": session.info.get("host"),
        "last": session.durable,
        "received": session.received,
        "sinks": session.info.get("sinks"),
        "via": session.info.get(VIA),
        "silent_s": round(time.monotonic() - session.seen_s) if session.silent else None,
        "state": ended
        or ("lost contact" if session.silent else "connected" if session.peer is not None else "open"),
    }

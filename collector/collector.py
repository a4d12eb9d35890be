"""Connects the parts of one collector in the order in which data flows, and reports their status."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from neural.tracking import __version__
from neural.tracking.collector.artifacts.artifact_store import ArtifactStore
from neural.tracking.collector.artifacts.uploads import Uploads
from neural.tracking.collector.control_commands import ControlCommands
from neural.tracking.collector.control_server import ControlServer
from neural.tracking.collector.daemon import Daemon, DaemonPart
from neural.tracking.collector.endpoint import Endpoint
from neural.tracking.collector.housekeeper import Housekeeper
from neural.tracking.collector.idle_exit import IdleExit
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
from neural.tracking.collector.workers.supervisor import Supervisor
from neural.tracking.core.address import next_port
from neural.tracking.core.config import CollectorConfig
from neural.tracking.remote import keys
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import any_quarantined, is_quarantined, list_quarantined
from neural.tracking.state.tombstones import Tombstones


class Collector:
    """All parts of one collector and the callbacks between them.

    Args:
        auto: whether a training started the collector, so that it leaves when it is idle.
        pair: the key pair that it shows to other hosts; None if it does not listen to any.
    """

    def __init__(
        self,
        base_dir: Path,
        lock: Lock,
        state: State,
        config: CollectorConfig,
        *,
        auto: bool,
        pair: keys.Pair | None,
    ) -> None:
        self._started_ns = time.time_ns()
        self._base_dir, self._lock, self._state, self._config = base_dir, lock, state, config
        self._auto, self._pair = auto, pair
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self._sessions = Sessions()
        self._log = LogWriter(
            state.log,
            self._sessions,
            segment_bytes=config.segment_bytes,
            on_recovered=self._on_recovered,
            on_committed=self._on_committed,
            on_failed=self._on_failed,
            host_went_down=lock.host_went_down(),
            check_room=self._check_room,
        )
        self._roster = SinkRoster(state)
        self._supervisor = Supervisor(
            state,
            self._sessions,
            specs=self._roster.specs(),
            locate=self._log.ordinal_of,
            on_applied=self._on_applied,
        )
        self._removals = Removals(Tombstones(state.tombstones), state.collector_id)
        self._sequencer = Sequencer(base_dir, self._log, self._sessions, self._removals)
        self._barriers = Barriers(partial(is_quarantined, state))
        self._contacts = LostContacts(self._sessions, self._sequencer, config.lost_contact_s)
        self._adopter = Adopter(state, self._sequencer, self._log, self._sessions)
        self._artifacts = ArtifactStore(state, self._sequencer, self._sessions, lambda: self._barriers.applied)
        self._authenticator = Authenticator(self._context, state.keys)
        self._uploads = self._make_uploads()
        self._listeners = Listeners(
            self._context, state, self._authenticator, config.listen, pair, self._upload_port
        )
        self._inbox = Inbox(
            self._listeners,
            self._sequencer,
            self._log,
            self._sessions,
            self._barriers,
            self._contacts,
            on_hello=self._adopter.watch,
            ignored_settings=self._roster.ignored_settings,
        )
        self._sequencer.on_durable = self._inbox.on_durable
        self.daemon = Daemon(self._make_parts(), drain_timeout_s=config.drain_timeout_s)

    def close(self) -> None:
        """Close the sockets and the ZeroMQ context, and only then release the lock. Blocks briefly."""
        self._inbox.close()
        self._context.term()
        if self._lock.in_place():  # otherwise the sockets are a successor's
            for socket_file in (self._state.data_socket, self._state.control_socket):
                socket_file.unlink(missing_ok=True)  # ZeroMQ does not remove them
        self._lock.release()

    def _make_parts(self) -> list[DaemonPart]:
        """Return the parts in the order data flows; the daemon starts them from the end."""
        remote: list[DaemonPart] = [] if self._uploads is None else [self._uploads, self._authenticator]
        endpoint = Endpoint(self._state, self._lock, self._log, self._listeners)
        return [
            self._make_housekeeper(endpoint),
            endpoint,
            ControlServer(self._context, self._state, self._make_commands().by_name),
            self._inbox,
            *remote,
            self._adopter,
            self._artifacts,
            self._log,
            self._supervisor,
        ]

    def _make_uploads(self) -> Uploads | None:
        if self._pair is None or self._config.listen is None:
            return None
        address = next_port(self._config.listen)
        return Uploads(self._context, self._state, self._authenticator, self._artifacts, self._pair, address)

    def _make_housekeeper(self, endpoint: Endpoint) -> Housekeeper:
        idle_exit = None
        if self._auto and self._config.listen is None:  # another host could not start it again
            busy = (
                self._adopter.has_outboxes,
                self._supervisor.undelivered,
                lambda: self._log.held_bytes,
                self._artifacts.is_busy,
            )
            idle_exit = IdleExit(self._config.idle_exit_s, self._inbox, busy)
        return Housekeeper(
            endpoint=endpoint,
            log=self._log,
            sessions=self._sessions,
            contacts=self._contacts,
            barriers=self._barriers,
            roster=self._roster,
            supervisor=self._supervisor,
            idle_exit=idle_exit,
            any_quarantined=partial(any_quarantined, self._state),
            on_failed=self._on_failed,
            on_idle=self._request_stop,
        )

    def _make_commands(self) -> ControlCommands:
        return ControlCommands(
            self._base_dir,
            log=self._log,
            sessions=self._sessions,
            inbox=self._inbox,
            barriers=self._barriers,
            removals=self._removals,
            adopter=self._adopter,
            artifacts=self._artifacts,
            roster=self._roster,
            supervisor=self._supervisor,
            status=self._status,
            request_stop=self._request_stop,
        )

    def _request_stop(self) -> None:
        self.daemon.request_stop()

    def _on_recovered(self) -> None:
        self._supervisor.on_log_recovered(self._log.durable)
        self._sequencer.record_lost(self._log.lost)

    def _on_committed(self, position: Position) -> None:
        self._supervisor.on_committed(position)
        self._inbox.on_committed(position)

    def _check_room(self, more_bytes: int) -> None:
        undelivered = self._log.bytes_beyond(self._supervisor.synced()) + more_bytes
        disk_reserve.check_room(self._state.log, self._base_dir, undelivered)

    def _upload_port(self) -> int:
        return 0 if self._uploads is None else self._uploads.port

    def _on_failed(self, error: LogFailed) -> None:
        self.daemon.fail(error)

    def _on_applied(self, position: Position) -> None:
        self._barriers.on_applied(position)
        self._artifacts.wake()
        for session in self._sessions:
            session.forget_applied(position)

    async def _status(self, request: dict[str, Any]) -> dict[str, Any]:
        durable = self._log.durable
        size = await asyncio.to_thread(self._log.stored_bytes)
        quarantined = await asyncio.to_thread(list_quarantined, self._state)
        return {
            "pid": os.getpid(),
            "version": __version__,
            "started_ns": self._started_ns,
            "log_id": self._log.log_id.hex(),
            "base_dir": str(self._base_dir),
            "state_dir": str(self._state.root),
            "auto": self._auto,
            "remote": self._remote(),
            "sessions": [
                {**_session_status(s), "unheeded": self._roster.ignored_settings(s)} for s in self._sessions
            ],
            "log": {
                "segments": len(self._log.segments),
                "bytes": size,
                "durable": durable.to_json(),
                "held_bytes": self._log.held_bytes,
            },
            "workers": self._supervisor.status(),
            "quarantined": [run.to_dict() for run in quarantined],
            "sinks_trouble": self._roster.config_error,
            "disk": {"state": "full" if self._log.disk_error else "ok", "error": self._log.disk_error},
            "events_total": self._sequencer.events_total,
            "repeated_total": self._sequencer.repeated_total,
            "refused_total": self._inbox.refused_total,
            "adopted_total": self._adopter.adopted_total,
            "artifacts": self._artifacts.status(),
        }

    def _remote(self) -> dict[str, Any] | None:
        """Return its address for other hosts, its key, and the keys that it admits; None without an address."""
        if self._pair is None or self._listeners.remote_address is None:
            return None
        public = keys.public_text(self._pair.public)
        uploads = None if self._uploads is None else self._uploads.status()
        return {
            "address": self._listeners.remote_address,
            "key": public,
            "uploads": uploads,
            **self._authenticator.status(),
        }


def _session_status(session: SessionState) -> dict[str, Any]:
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

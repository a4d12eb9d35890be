"""Publishes the addresses of the collector, and checks that other processes still find it there."""

from __future__ import annotations

import asyncio
import os

from neural.tracking import __version__
from neural.tracking.collector.ingest.listeners import Listeners
from neural.tracking.collector.lock import Lock
from neural.tracking.collector.log.writer import LogFailed, LogWriter
from neural.tracking.core import files
from neural.tracking.formats import wire
from neural.tracking.state.paths import State


class Endpoint:
    """A part of the daemon: ``endpoint.json``, which every sender of this host reads."""

    name = "endpoint"

    def __init__(self, state: State, lock: Lock, log: LogWriter, listeners: Listeners) -> None:
        self._state = state
        self._lock = lock
        self._log = log
        self._listeners = listeners
        self._written = False

    async def start(self) -> None:
        """Write the file, now that the collector can be reached. Waits for the disk; raises OSError."""
        await asyncio.to_thread(self._write)
        self._written = True

    async def drain(self, deadline: float) -> int:
        """Remove the file, unless another collector has replaced this one. Blocks briefly on the disk."""
        if self._written and self._lock.in_place():
            self._state.endpoint_file.unlink(missing_ok=True)
        self._written = False
        return 0

    def check(self) -> None:
        """Raise LogFailed if the lock, the file or a socket is gone: no process would find this collector.

        Blocks briefly on the disk.
        """
        if not self._lock.in_place():
            raise LogFailed(f"the lock {self._lock.path} is gone")
        # A predecessor whose folder was removed may remove the sockets: ZeroMQ unlinks a socket by its path.
        for path in (self._state.endpoint_file, self._state.data_socket, self._state.control_socket):
            if not path.exists():
                raise LogFailed(f"{path} is gone")

    def _write(self) -> None:
        description = {
            "data": f"ipc://{self._state.data_socket}",
            "remote": self._listeners.remote_address,
            "control": f"ipc://{self._state.control_socket}",
            "pid": os.getpid(),
            "log_id": self._log.log_id.hex(),
            "protocol": wire.PROTOCOL,
            "version": __version__,
        }
        files.write_json(self._state.endpoint_file, description, durable=False, mode=0o600)

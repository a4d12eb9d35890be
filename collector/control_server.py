"""The control socket: one msgpack map in, one map out, for ``ntrack`` and every other client.

A client uses REQ (:func:`neural.tracking.state.control_client.request`). The daemon answers from a ROUTER
socket. So a slow answer, or a client that left before its answer, delays no other client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import zmq

from neural.tracking.collector.ingest.router import Router
from neural.tracking.formats.events import unpack_map
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State

__all__ = ["ControlServer", "request"]


MAX_REQUEST_BYTES = 1 << 20
Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """A part of the daemon: answers requests with the commands that it gets."""

    name = "control"

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], state: State, commands: dict[str, Command]
    ) -> None:
        self._context = context
        self._state = state
        self._commands = commands
        self._router: Router | None = None
        self._task: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind the socket and start to answer. Never blocks; raises zmq.ZMQError if it cannot be bound."""
        self._router = Router(self._context, max_part_bytes=MAX_REQUEST_BYTES)
        self._router.bind(f"ipc://{self._state.control_socket}")
        self._task = asyncio.create_task(self._serve(), name="control")

    async def drain(self, deadline: float) -> int:
        """Finish the answers that are under way, for one second at most, then close."""
        if self._task is not None and self._router is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if self._answers:
                await asyncio.wait(self._answers, timeout=1.0)
            self._router.close()
            self._task = None
        return 0

    async def _serve(self) -> None:
        assert self._router is not None
        while True:
            await self._router.readable()
            parts = self._router.receive()
            if parts is not None and len(parts) == 3 and not parts[1]:
                task = asyncio.create_task(self._answer(parts[0], parts[2]))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
            await asyncio.sleep(0)

    async def _answer(self, identity: bytes, body: bytes) -> None:
        assert self._router is not None
        try:
            message = unpack_map(body)
            command = self._commands.get(str(message.get("cmd")))
            if command is None:
                answer = {"ok": False, "error": f"unknown command {str(message.get('cmd'))[:40]!r}"}
            else:
                answer = {"ok": True, **await command(message)}
        except (ValueError, TypeError, OSError) as error:
            answer = {"ok": False, "error": str(error)}
        self._router.send(identity, [b"", msgpack.packb(answer, default=str)])

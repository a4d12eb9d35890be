"""Decides which connections from other hosts are accepted: only those that prove to have an allowed key.

ZeroMQ asks here (ZAP, RFC 27) after the handshake has proven the client's key; the key must be in the
allow-list. The list is read again whenever its file has changed, and every message is checked against it. So a
key that is removed from the list is refused at once. If the list cannot be read, every connection is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import zmq

from neural.tracking.collector.ingest.router import Router
from neural.tracking.errors import ConfigError
from neural.tracking.remote import keys

logger = logging.getLogger(__name__)

ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"ntrack"
RELOAD_EVERY_S = 0.5
MAX_REFUSED = 16  # refused keys that `ntrack keys ls` shows
WARN_AGAIN_S = 600.0


class Authenticator:
    """A part of the daemon; exists only if the collector listens to other hosts."""

    name = "authenticator"

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
        self.refused_total = 0
        self.refused: dict[str, dict[str, Any]] = {}  # by key: the last refused connection, newest last
        self._context = context
        self._file = folder / keys.ALLOWED
        self._names: dict[str, str] = {}
        self._stamp: object = None
        self._next_reload_s = 0.0
        self._router: Router | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to answer ZeroMQ; must be called before a socket listens to other hosts. Blocks briefly."""
        self._reload()
        self._router = Router(self._context, max_part_bytes=1 << 16)
        self._router.bind(ZAP_ADDRESS)
        self._task = asyncio.create_task(self._answer_forever(), name="authenticator")

    async def drain(self, deadline: float) -> int:
        """Stop answering: no new connection is accepted. Never blocks."""
        if self._task is not None and self._router is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._router.close()
            self._task = None
        return 0

    def name_of(self, key: str) -> str | None:
        """Return the name under which a key is allowed now; None if it is not allowed. Blocks briefly."""
        if time.monotonic() >= self._next_reload_s:
            self._reload()
        return self._names.get(key)

    def status(self) -> dict[str, Any]:
        """Return the allowed and refused keys for ``ntrack status``. Blocks briefly on the disk."""
        self._reload()
        return {
            "allowed": sorted(self._names.values()),
            "refused_total": self.refused_total,
            "refused": list(self.refused.values()),
        }

    def _reload(self) -> None:
        """Read the list again if its file has changed."""
        self._next_reload_s = time.monotonic() + RELOAD_EVERY_S
        try:
            status = self._file.stat()
            stamp: object = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            stamp = "absent"
        except OSError as error:
            stamp = str(error)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._names = {keys.public_text(key): name for name, key in keys.read_list(self._file).items()}
        except (ConfigError, OSError) as error:
            self._names = {}
            logger.error("the list of allowed keys cannot be read, nobody is let in: %s", error)
        else:
            logger.info("%d keys are allowed", len(self._names))
        for key in [key for key in self.refused if key in self._names]:
            del self.refused[key]

    async def _answer_forever(self) -> None:
        assert self._router is not None
        while True:
            await self._router.readable()
            parts = self._router.receive()
            if parts is not None:
                self._answer(parts)
            await asyncio.sleep(0)

    def _answer(self, parts: list[bytes]) -> None:
        """Answer one ZAP request: identity, empty, version, id, domain, address, routing id, mechanism, key."""
        assert self._router is not None
        if len(parts) < 8 or parts[2] != b"1.0":
            return
        identity, _, version, request, domain, address, _, mechanism, *credentials = parts
        key, name = "", None
        if mechanism == b"CURVE" and domain == ZAP_DOMAIN and len(credentials) == 1:
            key = keys.public_text(credentials[0])
            self._next_reload_s = 0.0
            name = self.name_of(key)
        if name is None:
            self._note_refused(key, address.decode("ascii", "replace"))
            answer = [b"400", b"key is not allowed", b"", b""]
        else:
            # The key, not its name: the name may be given to another key while this connection lives.
            answer = [b"200", b"OK", key.encode(), b""]
        self._router.send(identity, [b"", version, request, *answer])

    def _note_refused(self, key: str, address: str) -> None:
        self.refused_total += 1
        before = self.refused.pop(key, None)
        warned_s = before["said_s"] if before else -WARN_AGAIN_S
        if time.monotonic() - warned_s >= WARN_AGAIN_S:
            warned_s = time.monotonic()
            logger.warning("a connection from %s was refused: %s is not allowed", address, key or "no key")
        self.refused[key] = {"key": key, "address": address, "time_ns": time.time_ns(), "said_s": warned_s}
        while len(self.refused) > MAX_REFUSED:
            del self.refused[next(iter(self.refused))]

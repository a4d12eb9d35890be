"""Decides which connections from other hosts are let in: only those that prove to have an allowed key.

ZeroMQ asks here (ZAP, RFC 27) once a handshake has proven the client's key; a name in the allow-list is
all it takes. The list is looked at again whenever its file changed, and every message is held against
it, so that a key taken out of it is shut out at once. A list that cannot be read lets nobody in.
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
LOOK_EVERY_S = 0.5
MAX_REFUSED = 16  # keys remembered for `ntrack keys ls`
SAID_AGAIN_S = 600.0


class Authenticator:
    """A part of the daemon, there only where it listens to other hosts."""

    name = "authenticator"

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
        self.refused_total = 0
        self.refused: dict[str, dict[str, Any]] = {}  # by key: who it was, the newest last
        self._context = context
        self._file = folder / keys.ALLOWED
        self._names: dict[str, str] = {}
        self._seen: object = None
        self._look_s = 0.0
        self._router: Router | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer ZeroMQ; must be done before anything listens to other hosts."""
        self._look()
        self._router = Router(self._context, max_part_bytes=1 << 16)
        self._router.bind(ZAP_ADDRESS)
        self._task = asyncio.create_task(self._answer_forever(), name="authenticator")

    async def drain(self, deadline: float) -> int:
        """Answer no more: nobody new gets in."""
        if self._task is not None and self._router is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._router.close()
            self._task = None
        return 0

    def name_of(self, key: str) -> str | None:
        """Return under which name a key is allowed now, None where it is not."""
        if time.monotonic() >= self._look_s:
            self._look()
        return self._names.get(key)

    def status(self) -> dict[str, Any]:
        """Return what ``ntrack status`` tells."""
        self._look()
        return {
            "allowed": sorted(self._names.values()),
            "refused_total": self.refused_total,
            "refused": list(self.refused.values()),
        }

    def _look(self) -> None:
        """Read the list again if its file is another than last time."""
        self._look_s = time.monotonic() + LOOK_EVERY_S
        try:
            status = self._file.stat()
            seen: object = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            seen = "absent"
        except OSError as error:
            seen = str(error)
        if seen == self._seen:
            return
        self._seen = seen
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
        """Answer one request: identity, empty, version, id, domain, address, routing id, mechanism, key."""
        assert self._router is not None
        if len(parts) < 8 or parts[2] != b"1.0":
            return
        identity, _, version, request, domain, address, _, mechanism, *credentials = parts
        key, name = "", None
        if mechanism == b"CURVE" and domain == ZAP_DOMAIN and len(credentials) == 1:
            key = keys.public_text(credentials[0])
            self._look_s = 0.0
            name = self.name_of(key)
        if name is None:
            self._note_refused(key, address.decode("ascii", "replace"))
            answer = [b"400", b"key is not allowed", b"", b""]
        else:
            # The key, not its name: a name may be given to another key while this connection lives.
            answer = [b"200", b"OK", key.encode(), b""]
        self._router.send(identity, [b"", version, request, *answer])

    def _note_refused(self, key: str, address: str) -> None:
        self.refused_total += 1
        known = self.refused.pop(key, None)
        said_s = known["said_s"] if known else -SAID_AGAIN_S
        if time.monotonic() - said_s >= SAID_AGAIN_S:
            said_s = time.monotonic()
            logger.warning("a connection from %s was refused: %s is not allowed", address, key or "no key")
        self.refused[key] = {"key": key, "address": address, "time_ns": time.time_ns(), "said_s": said_s}
        while len(self.refused) > MAX_REFUSED:
            del self.refused[next(iter(self.refused))]

"""Takes the bytes of artifacts from other hosts into the spool, where the keeper finds them.

Only what a job asks for is taken, and never more than it asks for. A file grows under the temporary name
of its upload; how long it is says where to go on after a cut, a kill on either side, or a restart. The
SHA-256 of what is on disk decides whether it is whole. Only then the upload gets its final name, so what
has one is whole and durable.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import zmq

from neural.tracking.collector.artifacts.artifact_store import ArtifactStore
from neural.tracking.collector.ingest.authenticator import ZAP_DOMAIN, Authenticator
from neural.tracking.collector.ingest.router import Peer, Router
from neural.tracking.core import copying, os_support
from neural.tracking.core.files import fsync_dir
from neural.tracking.errors import ConfigError, InvalidNameError, ProtocolError
from neural.tracking.formats import upload_wire, wire
from neural.tracking.remote import keys
from neural.tracking.state import spool
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.paths import State, private_folder

logger = logging.getLogger(__name__)

MAX_DEPTH = 64
MAX_NAME_BYTES = 255
MAX_CHECKS = 2  # digests at once
PROMISED_S = 60.0  # how long room is kept for an upload of which nothing is heard


class Uploads:
    """A part of the daemon, there only where it listens to other hosts; on the port after that for events."""

    name = "uploads"

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        state: State,
        authenticator: Authenticator,
        keeper: ArtifactStore,
        pair: keys.Pair,
        listen: str,
    ) -> None:
        self.received_bytes_total = self.placed_total = 0
        self.last_error: str | None = None
        self._context, self._state, self._authenticator, self._keeper = context, state, authenticator, keeper
        self._pair, self._listen = pair, listen
        self._router: Router | None = None
        self._task: asyncio.Task[None] | None = None
        self._grown: dict[Path, list[int]] = {}  # of each upload: its files, and bytes in them
        self._promised: dict[Path, tuple[int, float]] = {}  # to each upload: room for so many bytes, until when
        self._checks: dict[tuple[bytes, bytes, str], asyncio.Task[None]] = {}
        self._asked_by: dict[tuple[bytes, bytes, str], Peer] = {}  # for each check, lately
        self._turns = asyncio.Semaphore(MAX_CHECKS)

    @property
    def port(self) -> int:
        """The port it listens on, 0 if none."""
        return 0 if self._router is None else int(self._router.address.rpartition(":")[2] or 0)

    async def start(self) -> None:
        """Bind and begin to receive."""
        self._router = Router(self._context, max_part_bytes=wire.MAX_PART_BYTES)
        self._router.secure(self._pair, ZAP_DOMAIN)
        try:
            self._router.bind(self._listen)
        except zmq.ZMQError as error:
            self._router.close()
            raise ConfigError(f"cannot listen on {self._listen} for artifacts: {error.strerror}") from error
        self._task = asyncio.create_task(self._receive_forever(), name="uploads")

    async def drain(self, deadline: float) -> int:
        """Take nothing more; what has come is gone on with later."""
        if self._task is not None and self._router is not None:
            tasks = [self._task, *self._checks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._router.close()
            self._task = None
        return 0

    def status(self) -> dict[str, Any]:
        """Return what ``ntrack status`` tells."""
        return {
            "port": self.port,
            "received_bytes_total": self.received_bytes_total,
            "placed_total": self.placed_total,
            "last_error": self.last_error,
        }

    async def _receive_forever(self) -> None:
        assert self._router is not None
        while True:
            await self._router.readable()
            received = self._router.receive_from()
            if received is not None:
                await self._take(*received)
            await asyncio.sleep(0)

    async def _take(self, peer: Peer, parts: list[bytes]) -> None:
        if not self._authenticator.name_of(peer.key):
            return
        try:
            message = upload_wire.decode(parts)
        except ProtocolError as error:
            self._complain(f"a message from another host was not understood: {error}")
            return
        try:
            await self._answer(peer, message)
        except (OSError, InvalidNameError) as error:  # the sender asks again, later
            self._complain(f"an artifact could not be received: {error}")

    async def _answer(self, peer: Peer, message: Any) -> None:
        if not isinstance(
            message, upload_wire.Offer | upload_wire.Chunk | upload_wire.Check | upload_wire.Place
        ):
            return
        job = self._keeper.wants(message.session.hex(), message.token.hex())
        who = {"session": message.session, "token": message.token}
        outcome = self._keeper.outcome(message.session.hex(), message.token.hex())
        spooled = self._state.spool / message.session.hex() / message.token.hex()
        if outcome or spooled.exists():
            peer.send(upload_wire.Placed(**who, outcome=outcome).encode())
            return
        if job is None:
            settled = int(self._keeper.is_settled(message.session.hex()))
            peer.send(upload_wire.Unwanted(**who, settled=settled).encode())
            return
        if isinstance(message, upload_wire.Place):
            if await asyncio.to_thread(self._place, job, message.files):
                self.placed_total += 1
                self._keeper.wake()
                peer.send(upload_wire.Placed(**who, outcome={}).encode())
            return
        path = self._path(job, message.path)
        if isinstance(message, upload_wire.Check):
            if message.size == 0:
                await asyncio.to_thread(self._make_empty, job, path)
            self._begin_check(peer, job, path, message)
            return
        if isinstance(message, upload_wire.Offer):
            offset = await asyncio.to_thread(self._begin, job, path, message.size)
        else:
            offset = await asyncio.to_thread(self._write, job, path, message)
        peer.send(upload_wire.At(**who, path=message.path, offset=offset).encode())

    def _begin(self, job: ArtifactJob, path: Path, size: int) -> int:
        """Return how much of a file is there.

        Raises:
            OSError: there is no room for all of the upload; what can be had at once comes first.
        """
        there, growing = _size_of(path, size, job.size), self._growing(job)
        if there == 0:
            self._grown.pop(growing, None)
        wanted = job.size - self._grown_of(job)[1]
        # Two that fit one after the other must not fill the disk by halves and wait for each other.
        os_support.leave_reserve(self._state.root, wanted + self._promised_to_others(growing))
        self._promised[growing] = job.size, time.monotonic() + PROMISED_S
        return there

    def _promised_to_others(self, growing: Path) -> int:
        """Return how many bytes the other uploads that are under way have still to bring."""
        now = time.monotonic()
        self._promised = {path: told for path, told in self._promised.items() if told[1] > now}
        others = {path: size for path, (size, _) in self._promised.items() if path != growing}
        return sum(size - self._grown.get(path, [0, 0])[1] for path, size in others.items())

    def _write(self, job: ArtifactJob, path: Path, chunk: upload_wire.Chunk) -> int:
        """Append a chunk that goes on where the file ends; return where it ends then."""
        size = _length(path)
        grown = self._grown_of(job)
        fits = chunk.data and chunk.offset == (size or 0) and grown[1] + len(chunk.data) <= job.size
        if not fits or upload_wire.crc(chunk.data) != chunk.crc or not self._may_be(job, path):
            return size or 0
        os_support.leave_reserve(path.parent, len(chunk.data))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            grown[0] += size is None
            written = 0
            while written < len(chunk.data):
                count = os.pwrite(fd, memoryview(chunk.data)[written:], chunk.offset + written)
                written, grown[1] = written + count, grown[1] + count
            self.received_bytes_total += written
            self._promised[self._growing(job)] = job.size, time.monotonic() + PROMISED_S
            return chunk.offset + written
        finally:
            os.close(fd)

    def _may_be(self, job: ArtifactJob, path: Path) -> bool:
        """Return whether a file is there, or may be made as one of those of its upload; its folder is made."""
        if _length(path) is None:
            if self._grown_of(job)[0] >= (job.files or 1):
                return False
            private_folder(self._state.spool)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return True

    def _make_empty(self, job: ArtifactJob, path: Path) -> None:
        """Make a file of no bytes, of which no chunk tells."""
        if _length(path) is None and self._may_be(job, path):
            path.touch(mode=0o600)
            self._grown_of(job)[0] += 1

    def _grown_of(self, job: ArtifactJob) -> list[int]:
        """Return how many files and bytes of an upload there are; counted once, and after one began anew."""
        growing = self._growing(job)
        if growing not in self._grown:
            files = [path for path in (growing, *growing.rglob("*")) if path.is_file()]
            self._grown[growing] = [len(files), sum(path.stat().st_size for path in files)]
        return self._grown[growing]

    def _begin_check(self, peer: Peer, job: ArtifactJob, path: Path, check: upload_wire.Check) -> None:
        key = (check.session, check.token, check.path)
        self._asked_by[key] = peer  # who asks again may have another connection than the first time
        if key not in self._checks:  # else it is being read already, and answered then
            task = asyncio.create_task(self._check(self._growing(job), path, check), name="check")
            self._checks[key] = task
            task.add_done_callback(lambda _: self._checks.pop(key, None))

    async def _check(self, growing: Path, path: Path, check: upload_wire.Check) -> None:
        session, token, name = check.session, check.token, check.path
        try:
            async with self._turns:
                whole = await asyncio.to_thread(_is_whole, path, check.size, check.sha256)
        except OSError as error:
            self._complain(f"an artifact could not be received: {error}")
            return
        finally:
            peer = self._asked_by.pop((session, token, name))
        if whole:
            peer.send(upload_wire.Whole(session=session, token=token, path=name).encode())
        else:
            self._grown.pop(growing, None)
            there = _size_of(path, check.size, check.size)
            peer.send(upload_wire.At(session=session, token=token, path=name, offset=there).encode())

    def _place(self, job: ArtifactJob, files: int) -> bool:
        """Give an upload that is whole its final name; return whether it has it, durably."""
        growing = self._growing(job)
        if files != (job.files or 0) or growing.is_dir() != bool(files):
            return False
        found = [path for path in growing.rglob("*") if path.is_file()] if files else [growing]
        if len(found) != max(files, 1) or sum(path.stat().st_size for path in found) != job.size:
            return False
        for folder in {path.parent for path in found}:
            fsync_dir(folder)
        os.rename(growing, job.spooled(self._state))
        self._grown.pop(growing, None)
        self._promised.pop(growing, None)
        fsync_dir(growing.parent)
        fsync_dir(growing.parent.parent)
        return True

    def _growing(self, job: ArtifactJob) -> Path:
        return self._state.spool / job.session / f"{spool.TEMPORARY_PREFIX}{job.token}"

    def _path(self, job: ArtifactJob, relative: str) -> Path:
        """Return where a file of an upload grows; raises InvalidNameError for what leads elsewhere."""
        growing = self._growing(job)
        if job.files is None:
            if relative:
                raise InvalidNameError("file", relative, "is of no folder")
            return growing
        parts = relative.split("/")
        for part in parts:
            bad = (
                part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES
            )
            if bad or len(parts) > MAX_DEPTH:
                raise InvalidNameError("file", relative, "cannot lie inside its folder")
        return growing.joinpath(*parts)

    def _complain(self, text: str) -> None:
        if text != self.last_error:
            self.last_error = text
            logger.warning("%s", text)


def _size_of(path: Path, size: int, limit: int) -> int:
    """Return how much of a file is there; what is longer than it may be begins anew."""
    if size > limit:
        raise InvalidNameError("file", path.name, f"of {size} bytes is larger than its artifact")
    there = _length(path) or 0
    if there > size:
        os.truncate(path, 0)
        return 0
    return there


def _length(path: Path) -> int | None:
    """Return how long a file is, None where there is none."""
    try:
        return path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_whole(path: Path, size: int, sha256: str) -> bool:
    """Make a file durable and compare its digest; one that is something else begins anew."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(fd).st_size != size:
            return False
        os.fsync(fd)
        if copying.digest(fd, lambda count: None) == sha256:
            return True
        os.ftruncate(fd, 0)
        return False
    finally:
        os.close(fd)

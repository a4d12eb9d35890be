"""Receives the bytes of artifacts from other hosts into the spool, where the artifact store finds them.

Only bytes that a job needs are received, and never more of them than it names. A file grows under a temporary
name; its length says where to continue after a lost connection, a kill on either side, or a restart. The
SHA-256 of what is on disk decides whether the file is complete. Only then the upload gets its final name. So an
upload under its final name is complete and durable.
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
from neural.tracking.core.files import TEMPORARY_PREFIX, fsync_dir
from neural.tracking.errors import ConfigError, InvalidNameError, ProtocolError
from neural.tracking.formats import upload_wire, wire
from neural.tracking.remote import keys
from neural.tracking.state.artifact_jobs import ArtifactJob
from neural.tracking.state.paths import State, private_folder

logger = logging.getLogger(__name__)

MAX_DEPTH = 64
MAX_NAME_BYTES = 255
MAX_CHECKS = 2  # digests that are computed at the same time
RESERVED_S = 60.0  # how long space is reserved for an upload from which nothing arrives


class Uploads:
    """A part of the daemon if the collector listens to other hosts; it uses the port after that for events."""

    name = "uploads"

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        state: State,
        authenticator: Authenticator,
        artifacts: ArtifactStore,
        pair: keys.Pair,
        listen: str,
    ) -> None:
        self.received_bytes_total = self.placed_total = 0
        self.last_error: str | None = None
        self._context, self._state = context, state
        self._authenticator, self._artifacts = authenticator, artifacts
        self._pair, self._listen = pair, listen
        self._router: Router | None = None
        self._task: asyncio.Task[None] | None = None
        self._received: dict[Path, list[int]] = {}  # by upload: how many files and bytes there are
        # by upload: for how many bytes space is reserved, and until when
        self._reserved: dict[Path, tuple[int, float]] = {}
        self._checks: dict[tuple[bytes, bytes, str], asyncio.Task[None]] = {}
        self._asked_by: dict[tuple[bytes, bytes, str], Peer] = {}  # the peer that asked for each check last
        self._check_slots = asyncio.Semaphore(MAX_CHECKS)

    @property
    def port(self) -> int:
        """The port that it listens on; 0 if there is none. Never blocks."""
        return 0 if self._router is None else int(self._router.address.rpartition(":")[2] or 0)

    async def start(self) -> None:
        """Bind the socket and start to receive. Never blocks.

        Raises:
            ConfigError: the address cannot be bound.
        """
        self._router = Router(self._context, max_part_bytes=wire.MAX_PART_BYTES)
        self._router.secure(self._pair, ZAP_DOMAIN)
        try:
            self._router.bind(self._listen)
        except zmq.ZMQError as error:
            self._router.close()
            raise ConfigError(f"cannot listen on {self._listen} for artifacts: {error.strerror}") from error
        self._task = asyncio.create_task(self._receive_forever(), name="uploads")

    async def drain(self, deadline: float) -> int:
        """Receive nothing more; uploads continue later from where they are. Never waits for an upload."""
        if self._task is not None and self._router is not None:
            tasks = [self._task, *self._checks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._router.close()
            self._task = None
        return 0

    def status(self) -> dict[str, Any]:
        """Return the state of uploads for ``ntrack status``. Never blocks."""
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
                await self._handle(*received)
            await asyncio.sleep(0)

    async def _handle(self, peer: Peer, parts: list[bytes]) -> None:
        if not self._authenticator.name_of(peer.key):
            return
        try:
            message = upload_wire.decode(parts)
        except ProtocolError as error:
            self._warn(f"a message from another host was not understood: {error}")
            return
        try:
            await self._answer(peer, message)
        except (OSError, InvalidNameError) as error:  # the sender asks again, later
            self._warn(f"an artifact could not be received: {error}")

    async def _answer(self, peer: Peer, message: Any) -> None:
        if not isinstance(
            message, upload_wire.Offer | upload_wire.Chunk | upload_wire.Check | upload_wire.Place
        ):
            return
        job = self._artifacts.awaited_job(message.session.hex(), message.token.hex())
        who = {"session": message.session, "token": message.token}
        outcome = self._artifacts.outcome(message.session.hex(), message.token.hex())
        spooled = self._state.spool / message.session.hex() / message.token.hex()
        if outcome or spooled.exists():
            peer.send(upload_wire.Placed(**who, outcome=outcome).encode())
            return
        if job is None:
            settled = int(self._artifacts.is_settled(message.session.hex()))
            peer.send(upload_wire.Unwanted(**who, settled=settled).encode())
            return
        if isinstance(message, upload_wire.Place):
            if await asyncio.to_thread(self._place, job, message.files):
                self.placed_total += 1
                self._artifacts.wake()
                peer.send(upload_wire.Placed(**who, outcome={}).encode())
            return
        path = self._path(job, message.path)
        if isinstance(message, upload_wire.Check):
            if message.size == 0:
                await asyncio.to_thread(self._make_empty, job, path)
            self._begin_check(peer, job, path, message)
            return
        if isinstance(message, upload_wire.Offer):
            offset = await asyncio.to_thread(self._accept_offer, job, path, message.size)
        else:
            offset = await asyncio.to_thread(self._write, job, path, message)
        peer.send(upload_wire.At(**who, path=message.path, offset=offset).encode())

    def _accept_offer(self, job: ArtifactJob, path: Path, size: int) -> int:
        """Return how many bytes of a file are there.

        Raises:
            OSError: there is no space for the whole upload; the sender offers its other uploads first.
        """
        size_now, partial = _size_of(path, size, job.size), self._partial_path(job)
        if size_now == 0:
            self._received.pop(partial, None)
        wanted = job.size - self._received_of(job)[1]
        # Two uploads that fit one after the other must not fill the disk by halves and wait for each other.
        os_support.check_reserve(self._state.root, wanted + self._reserved_for_others(partial))
        self._reserved[partial] = job.size, time.monotonic() + RESERVED_S
        return size_now

    def _reserved_for_others(self, partial: Path) -> int:
        """Return how many bytes the other uploads that are under way will still bring."""
        now = time.monotonic()
        self._reserved = {path: entry for path, entry in self._reserved.items() if entry[1] > now}
        others = {path: size for path, (size, _) in self._reserved.items() if path != partial}
        return sum(size - self._received.get(path, [0, 0])[1] for path, size in others.items())

    def _write(self, job: ArtifactJob, path: Path, chunk: upload_wire.Chunk) -> int:
        """Append a chunk that continues at the end of the file; return where the file ends then, in bytes."""
        size = _length(path)
        counts = self._received_of(job)
        is_next = chunk.data and chunk.offset == (size or 0) and counts[1] + len(chunk.data) <= job.size
        if not is_next or upload_wire.crc(chunk.data) != chunk.crc or not self._may_create(job, path):
            return size or 0
        os_support.check_reserve(path.parent, len(chunk.data))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            counts[0] += size is None
            written = 0
            while written < len(chunk.data):
                count = os.pwrite(fd, memoryview(chunk.data)[written:], chunk.offset + written)
                written, counts[1] = written + count, counts[1] + count
            self.received_bytes_total += written
            self._reserved[self._partial_path(job)] = job.size, time.monotonic() + RESERVED_S
            return chunk.offset + written
        finally:
            os.close(fd)

    def _may_create(self, job: ArtifactJob, path: Path) -> bool:
        """Return whether a file is there, or may be created as one of its upload's files; create its folder."""
        if _length(path) is None:
            if self._received_of(job)[0] >= (job.files or 1):
                return False
            private_folder(self._state.spool)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return True

    def _make_empty(self, job: ArtifactJob, path: Path) -> None:
        """Create an empty file, for which no chunk is sent."""
        if _length(path) is None and self._may_create(job, path):
            path.touch(mode=0o600)
            self._received_of(job)[0] += 1

    def _received_of(self, job: ArtifactJob) -> list[int]:
        """Return how many files and bytes of an upload there are; counted once, and again after a restart."""
        partial = self._partial_path(job)
        if partial not in self._received:
            files = [path for path in (partial, *partial.rglob("*")) if path.is_file()]
            self._received[partial] = [len(files), sum(path.stat().st_size for path in files)]
        return self._received[partial]

    def _begin_check(self, peer: Peer, job: ArtifactJob, path: Path, check: upload_wire.Check) -> None:
        key = (check.session, check.token, check.path)
        self._asked_by[key] = peer  # a sender that asks again may have another connection than before
        if key not in self._checks:  # otherwise it is being read already, and answered then
            task = asyncio.create_task(self._check(self._partial_path(job), path, check), name="check")
            self._checks[key] = task
            task.add_done_callback(lambda _: self._checks.pop(key, None))

    async def _check(self, partial: Path, path: Path, check: upload_wire.Check) -> None:
        session, token, name = check.session, check.token, check.path
        try:
            async with self._check_slots:
                whole = await asyncio.to_thread(_is_whole, path, check.size, check.sha256)
                if whole and check.executable:
                    await asyncio.to_thread(path.chmod, 0o700)
        except OSError as error:
            self._warn(f"an artifact could not be received: {error}")
            return
        finally:
            peer = self._asked_by.pop((session, token, name))
        if whole:
            peer.send(upload_wire.Whole(session=session, token=token, path=name).encode())
        else:
            self._received.pop(partial, None)
            size_now = _size_of(path, check.size, check.size)
            peer.send(upload_wire.At(session=session, token=token, path=name, offset=size_now).encode())

    def _place(self, job: ArtifactJob, files: int) -> bool:
        """Give a complete upload its final name; return whether it has that name, durably."""
        partial = self._partial_path(job)
        if files != (job.files or 0) or partial.is_dir() != bool(files):
            return False
        received = [path for path in partial.rglob("*") if path.is_file()] if files else [partial]
        if len(received) != max(files, 1) or sum(path.stat().st_size for path in received) != job.size:
            return False
        for folder in {path.parent for path in received}:
            fsync_dir(folder)
        os.rename(partial, job.spooled(self._state))
        self._received.pop(partial, None)
        self._reserved.pop(partial, None)
        fsync_dir(partial.parent)
        fsync_dir(partial.parent.parent)
        return True

    def _partial_path(self, job: ArtifactJob) -> Path:
        return self._state.spool / job.session / f"{TEMPORARY_PREFIX}{job.token}"

    def _path(self, job: ArtifactJob, relative: str) -> Path:
        """Return the path of a partial file; raises InvalidNameError for a name that leads elsewhere."""
        partial = self._partial_path(job)
        if job.files is None:
            if relative:
                raise InvalidNameError("file", relative, "is of no folder")
            return partial
        parts = relative.split("/")
        for part in parts:
            bad = (
                part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES
            )
            if bad or len(parts) > MAX_DEPTH:
                raise InvalidNameError("file", relative, "cannot lie inside its folder")
        return partial.joinpath(*parts)

    def _warn(self, text: str) -> None:
        if text != self.last_error:
            self.last_error = text
            logger.warning("%s", text)


def _size_of(path: Path, size: int, limit: int) -> int:
    """Return how many bytes of a file are there; a file that is longer than allowed begins anew."""
    if size > limit:
        raise InvalidNameError("file", path.name, f"of {size} bytes is larger than its artifact")
    size_now = _length(path) or 0
    if size_now > size:
        os.truncate(path, 0)
        return 0
    return size_now


def _length(path: Path) -> int | None:
    """Return the length of a file in bytes; None if there is none."""
    try:
        return path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_whole(path: Path, size: int, sha256: str) -> bool:
    """Make a file durable and compare its digest; a file with another digest begins anew."""
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

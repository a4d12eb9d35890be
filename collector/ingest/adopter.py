"""Adopts the outboxes of processes that have ended, and records how their sessions ended.

An orphan is an outbox whose owner no longer holds its lock. The adopter locks it, renames it, and sends its
events through the sequencer under the orphan's own session id. Then it closes the session, and deletes the
outbox once all of it is on disk. A crash in between is harmless: the renamed folder is found again, and what
the log has already counts once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from neural.tracking.collector.ingest.process_watch import ProcessWatch, is_alive, is_local
from neural.tracking.collector.ingest.sequencer import Refused, Sequencer, Verdict
from neural.tracking.collector.log.sessions import Sessions, SessionState
from neural.tracking.collector.log.writer import LogWriter
from neural.tracking.core import os_support
from neural.tracking.core.files import TEMPORARY_PREFIX
from neural.tracking.core.names import is_hex_id
from neural.tracking.core.process_end import OUTBOX_GONE, POWER_LOSS
from neural.tracking.errors import FormatError
from neural.tracking.state import outbox_files as outbox_files
from neural.tracking.state.outbox_end import ends
from neural.tracking.state.outbox_files import (
    ADOPTED_SUFFIX,
    REMOVED_PREFIX,
    LostNumbers,
    Orphan,
    OutboxInfo,
    OutboxPiece,
)
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import RUN_DELETED, Late

logger = logging.getLogger(__name__)

SCAN_EVERY_S = 1.0
LIVE_SCAN_EVERY_S = 4.0  # for an outbox whose process runs: finish() may have released it
TEMPORARY_MAX_AGE_S = 600.0
GRACE_S = 5.0  # until a session without process and outbox is closed
RETRY_S = 30.0  # until an orphan that could not be adopted is tried again


class Adopter:
    """A part of the daemon: looks for orphans every second, and whenever a watched process ends."""

    name = "adopter"

    def __init__(
        self,
        state: State,
        sequencer: Sequencer,
        log: LogWriter,
        sessions: Sessions,
        claim: Callable[[Path], int | None] = outbox_files.claim,
    ) -> None:
        self.adopted_total = 0
        self._claim = claim
        self._state = state
        self._sequencer = sequencer
        self._log = log
        self._sessions = sessions
        self._watch = ProcessWatch(self._on_exit)
        self._wake = asyncio.Event()
        self._adopting: dict[str, asyncio.Task[None]] = {}
        self._not_before_s: dict[str, float] = {}
        self._next_scan_s: dict[str, float] = {}
        self._missing_since_s: dict[bytes, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to look for orphans. Never blocks."""
        self._task = asyncio.create_task(self._scan_forever(), name="adopter")

    async def drain(self, deadline: float) -> int:
        """Adopt no more orphans; those that are being adopted stay on disk for the next collector."""
        tasks = [task for task in (self._task, *self._adopting.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        self._watch.close()
        return 0

    def watch(self, session: SessionState) -> None:
        """Watch the process of a session that sent HELLO. Never blocks."""
        self._watch.add(session)

    def scan_now(self) -> None:
        """Look for orphans without waiting for the next second."""
        self._wake.set()

    def has_outboxes(self) -> bool:
        """Return whether an outbox is live or waits for adoption. Blocks briefly on the disk; raises
        OSError.
        """
        return bool(self._adopting) or any(folder.name not in self._not_before_s for folder in self._outboxes())

    def _on_exit(self, session: bytes) -> None:
        self._wake.set()

    async def _scan_forever(self) -> None:
        while True:
            try:
                self._scan()
            except OSError as error:
                logger.warning("outboxes could not be listed: %s", error)
            try:
                await asyncio.wait_for(self._wake.wait(), SCAN_EVERY_S)
            except TimeoutError:
                continue
            self._wake.clear()

    def _scan(self) -> None:
        now_s = time.monotonic()
        self._watch.prune(self._sessions)
        present: set[str] = set()
        for folder in self._outboxes():
            key = folder.name.removesuffix(ADOPTED_SUFFIX)
            present.add(key)
            if key in self._adopting or now_s < self._not_before_s.get(folder.name, 0.0):
                continue  # to claim it a second time would release the lock
            if now_s < self._next_scan_s.get(key, 0.0) and self._is_running(key):
                continue
            self._next_scan_s[key] = now_s + LIVE_SCAN_EVERY_S
            fd = self._claim(folder)
            if fd is not None:
                self._adopting[key] = asyncio.create_task(self._adopt(folder, key, fd), name=f"adopt {key}")
        self._next_scan_s = {key: at for key, at in self._next_scan_s.items() if key in present}
        self._give_up_missing(present, now_s)

    def _is_running(self, key: str) -> bool:
        """Return whether the process is watched and runs; it may have released its outbox all the same."""
        return is_hex_id(key) and self._watch.is_running(bytes.fromhex(key))

    def _outboxes(self) -> Iterator[Path]:
        try:
            entries = list(os.scandir(self._state.outbox))
        except FileNotFoundError:
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                continue
            if entry.name.startswith(TEMPORARY_PREFIX):
                self._remove_stale(Path(entry.path))
            else:
                yield Path(entry.path)

    def _remove_stale(self, folder: Path) -> None:
        """Remove the folder of a process that died while it created or removed its outbox."""
        if folder.name.startswith(REMOVED_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
            return
        try:
            if time.time() - folder.stat().st_mtime < TEMPORARY_MAX_AGE_S:
                return
            fd = self._claim(folder)
            if fd is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(fd)
        except OSError:
            return  # it was renamed to its final name, or is gone

    async def _adopt(self, folder: Path, key: str, fd: int) -> None:
        try:
            outbox = await self._read_info(folder, key)
            if outbox is None:
                return
            info = outbox.info
            # Containers have host names of their own. Under one kernel the lock counts all the same.
            if info.get("host") != platform.node() and info.get("boot_id") != os_support.boot_id():
                raise FormatError(f"it belongs to another host: {info.get('host')}")
            adopted = folder.with_name(key + ADOPTED_SUFFIX)
            if folder != adopted:
                await asyncio.to_thread(folder.rename, adopted)
                folder = adopted
            orphan = await asyncio.to_thread(Orphan, folder, outbox)
            await self._deliver(orphan)
            await asyncio.to_thread(outbox_files.remove, folder)
            self._watch.forget(orphan.session)
            self.adopted_total += 1
        except Refused as refused:
            self._postpone(folder, refused)
        except (OSError, FormatError) as error:
            self._postpone(folder, error)
        finally:
            os.close(fd)
            del self._adopting[key]

    async def _deliver(self, orphan: Orphan) -> None:
        """Store all of an outbox in the log. If its run was removed, record what it held instead.

        Raises:
            Refused: the session cannot be taken now.
            OSError: the outbox cannot be read, or the record cannot be written.
        """
        try:
            session = await self._sequencer.open(orphan.session, orphan.uid, orphan.info)
            await self._store_rest(orphan, session)
        except Refused as refused:
            if refused.code != RUN_DELETED:
                raise
            await asyncio.to_thread(self._account, orphan)

    def _account(self, orphan: Orphan) -> None:
        session = self._sessions.get(orphan.session)
        if session is not None and session.ended is not None and not orphan.emitted > session.ended:
            return  # all of it was stored before the run was removed
        late = Late.of(orphan.info, orphan.emitted, exact=True)
        self._sequencer.removals.account(orphan.session, orphan.uid, late)

    async def _read_info(self, folder: Path, key: str) -> OutboxInfo | None:
        """Return the session of an outbox. If its file is lost, as after a power failure, the log may have it.

        Returns:
            None if the session is unknown and the outbox held nothing: it is removed then.

        Raises:
            FormatError, OSError: the outbox cannot be read, and the log does not know the session.
        """
        try:
            return await asyncio.to_thread(outbox_files.read_info, folder)
        except (FormatError, FileNotFoundError):
            session = self._sessions.get(bytes.fromhex(key)) if is_hex_id(key) else None
            if session is not None:
                return OutboxInfo(session.id, session.uid, session.info)
            if is_hex_id(key) and await asyncio.to_thread(outbox_files.is_blank, folder, bytes.fromhex(key)):
                logger.warning("outbox %s held nothing and was removed", folder)
                await asyncio.to_thread(outbox_files.remove, folder)
                return None
            raise

    def _postpone(self, folder: Path, error: Exception) -> None:
        if folder.name not in self._not_before_s:
            logger.error("outbox %s could not be adopted and stays: %s", folder, error)
        self._not_before_s[folder.name] = time.monotonic() + RETRY_S

    async def _store_rest(self, orphan: Orphan, session: SessionState) -> None:
        """Store the rest of the session in the log, close the session, and wait until that is durable."""
        schemas = await asyncio.to_thread(orphan.schemas)
        newest: OutboxPiece | LostNumbers | None = None
        again = True
        while again:
            again = False
            pieces = orphan.pieces(session.received)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                await self._log.wait_for_queue_room()
                if self._store_piece(session, piece, schemas) is Verdict.OUT_OF_ORDER:
                    again = True  # some of it still arrived over the socket: cut the batches anew
                    break
                newest = piece
        emitted = max(session.received, await asyncio.to_thread(lambda: orphan.emitted))
        if session.ended is None and not await asyncio.to_thread(ends, orphan, emitted, newest):
            death = POWER_LOSS if orphan.host_went_down else await self._watch.death(session.id)
            self._sequencer.note_death(session, *death)
        await self._close(session, emitted)

    def _store_piece(self, session: SessionState, piece: OutboxPiece | LostNumbers, schemas: bytes) -> Verdict:
        if session.deleted:
            raise Refused(RUN_DELETED, "its run was removed meanwhile")
        if isinstance(piece, LostNumbers):
            return self._sequencer.gap(session, piece.first, piece.last, piece.reason)
        verdict = self._sequencer.data(session, piece.first, piece.last, piece.base, schemas, piece.payload)
        if verdict is Verdict.INVALID and session.ended is None:
            return self._sequencer.gap(session, piece.first, piece.last, "damage")
        return verdict

    async def _close(self, session: SessionState, n: int) -> None:
        closed = asyncio.Event()
        if self._sequencer.bye(session, n, closed.set) is Verdict.OUT_OF_ORDER:
            self._sequencer.gap(session, session.received + 1, n, "damage")
            self._sequencer.bye(session, n, closed.set)
        await closed.wait()

    def _give_up_missing(self, present: set[str], now_s: float) -> None:
        """Close the sessions whose process and outbox are gone: nothing more will arrive."""
        for session in self._sessions.open():
            if session.id.hex() in present or session.deleted or not is_local(session.info):
                self._missing_since_s.pop(session.id, None)
                continue
            if self._watch.is_running(session.id) or is_alive(session.info):
                continue
            if now_s - self._missing_since_s.setdefault(session.id, now_s) > GRACE_S:
                del self._missing_since_s[session.id]
                went_down = outbox_files.host_went_down(session.info)
                self._sequencer.note_death(session, *(POWER_LOSS if went_down else OUTBOX_GONE))
                if session.claimed > session.received:
                    self._sequencer.gap(session, session.received + 1, session.claimed, "damage")
                self._sequencer.bye(session, session.received, lambda: None)

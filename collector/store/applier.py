"""The sink that writes run folders: finds each run's folder and keeps its writer, views and end in order."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from neural.tracking.collector.log.items import LoggedSession, LogItem, SessionNote
from neural.tracking.collector.store import quarantine
from neural.tracking.collector.store.artifact_jobs import make_jobs
from neural.tracking.collector.store.crash_marker import NOTHING, CrashMarker, StoreDied
from neural.tracking.collector.store.quarantine import Quarantine
from neural.tracking.collector.store.run_folder import folder_names, has_run_file, owner, write_run_file
from neural.tracking.collector.store.run_writer import RunWriter
from neural.tracking.core.files import inside
from neural.tracking.errors import DataDamagedError, InvalidNameError, RetryLater, TrackingError
from neural.tracking.reader import json_views
from neural.tracking.state.base_dir import BaseDir
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import AFTER, Tombstone, Tombstones

logger = logging.getLogger(__name__)

MAX_OPEN_RUNS = 200
DAMAGED_PAUSE_S = 60.0  # of a damaged run: its views cannot be made, and trying reads all of it
SYNC_THREADS = 16
# A view costs what it costs; it is made again only after many times as long.
VIEW_PAUSE_FACTOR = 20
SUMMARY_EVERY_S = 10.0
# What no single folder is to blame for: the same batch is tried again.
EVERYONES = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class _OpenWriter:
    """A run that is being written, and when its views may be made again."""

    def __init__(self, writer: RunWriter, stone: Tombstone | None) -> None:
        self.writer = writer
        self.stone = stone  # of a run that was removed before this one of the same uid
        self.sessions: dict[bytes, LoggedSession] = {}
        self.views_after_s = 0.0
        self.summary_after_s = time.monotonic() + SUMMARY_EVERY_S
        self.written_s = time.monotonic()
        self.summary_stale = False


class StoreApplier:
    """Delivers to ``<base_dir>/<name>_<id>/``.

    A run whose folder cannot be used goes into quarantine and the others go on. Where that leaves
    something of it that was applied and never made durable, the worker has to start again: only the log
    from the cursor on has it then.
    """

    name = "store"

    def __init__(self, state: State) -> None:
        self._state = state
        self._collector = ""
        self._runs: dict[bytes, _OpenWriter] = {}
        self._held: dict[bytes, Quarantine] = {}
        self._tombstones = Tombstones(state.tombstones)
        self._underway = CrashMarker(state.root / "store-underway")
        self._home = BaseDir(state)

    @property
    def writers(self) -> dict[bytes, RunWriter]:
        """The writers of the runs that are open now, by the run's uid."""
        return {uid: run.writer for uid, run in self._runs.items()}

    def open(self) -> None:
        """Learn this state folder's identity; run folders are opened as the log names them."""
        self._home.learn()
        try:
            self._collector = self._state.collector_id()
            self._held = {held.uid: held for held in quarantine.found(self._state)}
            self._underway.open()
            held = self._held.get(self._underway.died_of)
            if held is not None:
                held.failed(StoreDied("the store died when it tried this run again"), later=True)
                self._underway.absolve()
        except OSError as error:
            raise RetryLater(f"cannot read {self._state.root}: {error}") from error

    def write(self, batch: Sequence[LogItem]) -> None:
        """Apply every item to its run's folder; ends are shown in the views before this returns."""
        try:
            self._write(batch)
        finally:
            self._underway.at(NOTHING)

    def _write(self, batch: Sequence[LogItem]) -> None:
        looked: set[bytes] = set()
        touched: dict[bytes, _OpenWriter] = {}
        for item in batch:
            uid = item.session.uid
            self._underway.at(uid)
            held = self._held.get(uid)
            if held is not None and not self._release(held):
                held.keep(item)
                continue
            try:
                if uid not in looked:
                    looked.add(uid)
                    self._underway.judge(uid)
                    self._check_removed(uid)
                run = self._apply(item)
            except Exception as error:  # noqa: BLE001 - a border: what one run breaks on must not stop the others
                self._quarantine(uid, folder_names(item.session)[0], error).keep(item)
                continue
            if run is not None:
                touched[uid] = run
        for run in touched.values():
            run.written_s = time.monotonic()
            run.summary_stale = True
            if "end" in run.writer.changed:
                self._underway.at(run.writer.uid)
                self._show_end(run)

    def flush(self) -> None:
        """Make all runs durable; then compact, show and let go of what is due."""
        try:
            self._flush()
        finally:
            self._underway.at(NOTHING)
        if self._underway.suspect in self._runs:
            self._underway.absolve()

    def _flush(self) -> None:
        for held in list(self._held.values()):
            self._release(held)
        self._underway.at(NOTHING)
        for uid, run in list(self._runs.items()):
            try:
                self._check_removed(uid)
            except (OSError, TrackingError) as error:
                self._quarantine(uid, run.writer.folder.name, error)
        self._flush_all()
        for held in self._held.values():
            held.sync()
        for uid, run in list(self._runs.items()):
            self._underway.at(uid)
            try:
                self._keep_house(uid, run)
            except DataDamagedError as error:
                logger.error("the views of %s stay as they were: %s", run.writer.folder.name, error.what)
                run.writer.changed.clear()
                run.summary_stale = False
                run.views_after_s = time.monotonic() + DAMAGED_PAUSE_S
            except (RetryLater, OSError) as error:
                # Durable already; compaction and views wait for better times.
                logger.error("%s was not tidied: %s", run.writer.folder.name, error)
        for uid in sorted(self._runs, key=lambda uid: self._runs[uid].written_s)[:-MAX_OPEN_RUNS]:
            self._close(uid)

    def _flush_all(self) -> None:
        """Sync all runs, several at a time: a disk does many syncs together nearly as fast as one."""
        unsaved = [(uid, run.writer) for uid, run in self._runs.items() if run.writer.unsaved]
        if len(unsaved) < 2:
            failures = [_failure_of(writer) for _, writer in unsaved]
        else:
            with ThreadPoolExecutor(max_workers=min(len(unsaved), SYNC_THREADS)) as pool:
                failures = list(pool.map(_failure_of, [writer for _, writer in unsaved]))
        last: Exception | None = None
        for (uid, writer), failure in zip(unsaved, failures, strict=True):
            if failure is not None:
                try:
                    self._quarantine(uid, writer.folder.name, failure)
                except (OSError, RetryLater) as error:
                    last = error
        if last is not None:
            raise last

    def _apply(self, item: LogItem) -> _OpenWriter | None:
        """Apply one item to its run's folder; return the run, None if it was deleted."""
        # What was pruned from a folder that was put back is told by the prune, whatever its sessions are.
        told = item.note if isinstance(item, SessionNote) and AFTER in item.note else item.session.info
        run = self._run(item.session, told)
        if run is not None:
            run.sessions.setdefault(item.session.session, item.session)
            run.writer.apply(item)
            make_jobs(self._state, run.writer)
        return run

    def _quarantine(self, uid: bytes, folder: str, error: Exception) -> Quarantine:
        """Return where the run's items go from now on.

        Raises:
            RetryLater: it is not this folder's fault.
            OSError: something of the run was applied and is not durable; the worker starts again.
        """
        if self._is_everyones(error):
            raise error if isinstance(error, RetryLater) else RetryLater(str(error)) from error
        held = self._held.get(uid)
        if held is None:
            held = quarantine.begin(self._state, uid, folder)
            logger.error("run %s goes into quarantine at %s: %s", folder, held.place, error)
        held.failed(error, later=isinstance(error, StoreDied))
        if isinstance(error, StoreDied):
            self._underway.absolve()
        self._held[uid] = held
        run = self._runs.pop(uid, None)
        if run is not None:
            only_in_log = run.writer.unsaved and held.empty
            with contextlib.suppress(OSError):  # it may not remove what it no longer needs
                run.writer.close()
            if only_in_log:
                raise OSError(f"run {folder} was not made durable and is read again: {error}") from error
        return held

    def _is_everyones(self, error: BaseException) -> bool:
        if isinstance(error, MemoryError):
            return True
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in EVERYONES:
            return True
        return not os.access(self._state.base_dir, os.W_OK | os.X_OK) or self._is_away()

    def _is_away(self) -> bool:
        try:
            self._home.check()
        except RetryLater:
            return True
        return False

    def _release(self, held: Quarantine) -> bool:
        """Bring what was held back into the run's folder, if it can be used again; return whether it can.

        One that holds nothing is kept until something of its run was made durable: it may have been
        the sync that failed, and that shows only then.
        """
        if not held.due:
            return False
        self._underway.at(held.uid)
        try:
            for items in held.items():
                for item in items:
                    self._apply(item)
            run = self._runs.get(held.uid)
            proven = not held.empty or (run is not None and run.writer.unsaved) or held.outlived
            if run is not None:
                run.writer.flush()
        except Exception as error:  # noqa: BLE001 - the same border
            self._quarantine(held.uid, held.run, error)
            return False
        if proven:
            logger.info("run %s left quarantine", held.run)
            del self._held[held.uid]
            held.remove()
        return True

    def close(self) -> None:
        """Let go of every run."""
        for uid in list(self._runs):
            self._close(uid)
        for held in self._held.values():
            held.close()
        self._underway.close()

    def run_gone(self, uid: str) -> None:
        """Forget a run that was deleted; nothing of it is written any more."""
        key = bytes.fromhex(uid)
        self._close(key)
        if (held := self._held.pop(key, None)) is not None:
            held.close()
        quarantine.discard(self._state, key)

    def _close(self, uid: bytes) -> None:
        run = self._runs.pop(uid, None)
        if run is not None:
            run.writer.close()

    def _run(self, session: LoggedSession, told: Mapping[str, Any]) -> _OpenWriter | None:
        """Return the open run of a session, None if the run was deleted since what is ``told`` was begun."""
        run = self._runs.get(session.uid)
        stone = self._tombstones.of(session.uid) if run is None else run.stone
        if stone is not None and stone.covers(told):
            return None
        if run is None:
            folder = self._folder(session)
            run = _OpenWriter(RunWriter(folder, session.uid, self._collector), stone)
            self._runs[session.uid] = run
        return run

    def _folder(self, session: LoggedSession) -> Path:
        """Return the run's folder, made with its ``run.json`` if it is not there.

        Raises:
            RetryLater: ``base_dir`` is not there, or not the one it was.
            FormatError, OSError: whose the folder is cannot be found out now; nothing was written to it.
        """
        for name in folder_names(session):
            try:
                folder = inside(self._state.base_dir, name)
            except InvalidNameError:
                continue
            if self._home.lacks(name):
                folder.mkdir(exist_ok=True)
            elif not folder.is_dir():
                continue  # a file in one run's place must not hold up all runs
            whose = owner(folder)
            if whose is not None and whose != session.uid:
                continue
            if whose is None or not has_run_file(folder):
                write_run_file(folder, session)
            self._home.prove(folder)
            return folder
        raise RetryLater(f"every folder name for run {session.uid.hex()} is taken by another run")

    def _check_removed(self, uid: bytes) -> None:
        """Make a folder that was taken away anew; what it held is a gap."""
        run = self._runs.get(uid)
        if run is None or not run.writer.removed():
            return
        self._home.check()  # where its disk is not mounted every folder seems to be removed
        if not run.writer.removed():
            return
        logger.error("folder %s was removed while its run was live", run.writer.folder.name)
        self._close(uid)
        for session in run.sessions.values():
            made = self._run(session, session.info)
            if made is not None:
                made.sessions[session.session] = session
                made.writer.write_off(session, run.writer.last(session.session), "run_folder_removed")

    def _show_end(self, run: _OpenWriter) -> None:
        # The one that costs most can wait while others still log: not each rank's end is to wait for it.
        later = {"metrics"} if run.writer.open_sessions else set()
        try:
            json_views.write_views(run.writer.folder, set(json_views.NAMES) - later)
        except (OSError, TrackingError) as error:
            logger.error("views of %s were not written: %s", run.writer.folder.name, error)
            return
        run.writer.changed.clear()
        run.writer.changed |= later
        run.summary_stale = False

    def _keep_house(self, uid: bytes, run: _OpenWriter) -> None:
        writer, now = run.writer, time.monotonic()
        if not writer.open_sessions:
            writer.compact()
            writer.flush()
        writer.compact_when_due()
        if run.summary_stale and now > run.summary_after_s:
            writer.changed.add("summary")
        if writer.changed and now > run.views_after_s:
            names = writer.changed | ({"metadata", "summary"} if "end" in writer.changed else set())
            json_views.write_views(writer.folder, names & set(json_views.NAMES))
            writer.changed.clear()
            run.summary_stale = run.summary_stale and "summary" not in names
            spent = time.monotonic() - now
            run.views_after_s = now + VIEW_PAUSE_FACTOR * spent
            run.summary_after_s = now + SUMMARY_EVERY_S + VIEW_PAUSE_FACTOR * spent
        if not (writer.open_sessions or writer.changed or writer.parts.sweeping):
            writer.flush()
            self._close(uid)


def _failure_of(writer: RunWriter) -> Exception | None:
    """Make a run durable; return why that could not be."""
    try:
        writer.flush()
    except (OSError, RetryLater) as error:
        return error
    return None

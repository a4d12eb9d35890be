"""Writes run folders: finds each run's folder, applies the log to it, quarantines a run that fails."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from neural.tracking.collector.applier import Applier
from neural.tracking.collector.log.items import LoggedSession, LogItem, SessionNote
from neural.tracking.collector.store import quarantine
from neural.tracking.collector.store.artifact_jobs import make_jobs
from neural.tracking.collector.store.crash_marker import NOTHING, CrashMarker
from neural.tracking.collector.store.open_run import OpenRun
from neural.tracking.collector.store.quarantine import Quarantine
from neural.tracking.collector.store.run_folder import folder_names, has_run_file, owner, write_run_file
from neural.tracking.collector.store.run_writer import RunWriter
from neural.tracking.core.files import inside
from neural.tracking.errors import InvalidNameError, RetryLater, StoreDiedError, TrackingError
from neural.tracking.state.base_dir import BaseDir
from neural.tracking.state.paths import State
from neural.tracking.state.tombstones import AFTER, Tombstones

logger = logging.getLogger(__name__)

MAX_OPEN_RUNS = 200
MAX_FINISHED = 10_000
SYNC_THREADS = 16
# These errors are not the fault of one folder: the worker tries the same batch again.
SHARED_FAULTS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class StoreApplier(Applier):
    """Writes each run to ``<base_dir>/<name>_<id>/``.

    A run whose folder cannot be used goes into quarantine, and the other runs go on. If some of its events were
    applied and are not durable, the worker process ends and starts again: only the log from the cursor on has
    these events then.
    """

    name = "store"

    def __init__(self, state: State) -> None:
        self._state = state
        self._collector = ""
        self._runs: dict[bytes, OpenRun] = {}
        self._quarantined: dict[bytes, Quarantine] = {}
        self._finished: dict[bytes, str] = {}  # sessions of runs that were stored to the end, and their folder
        self._tombstones = Tombstones(state.tombstones)
        self._crash_marker = CrashMarker(state.root / "store-underway")
        self._base_dir = BaseDir(state)

    @property
    def writers(self) -> dict[bytes, RunWriter]:
        """The writers of the runs that are open now, by the run's uid."""
        return {uid: run.writer for uid, run in self._runs.items()}

    def open(self) -> None:
        """Read this state folder's identity and its quarantines. A run folder is opened at its first item."""
        self._base_dir.learn()
        try:
            self._collector = self._state.collector_id()
            self._quarantined = {held.uid: held for held in quarantine.load_all(self._state)}
            self._crash_marker.open()
            held = self._quarantined.get(self._crash_marker.died_of)
            if held is not None:
                held.failed(StoreDiedError("the store died when it tried this run again"), later=True)
                self._crash_marker.clear_suspect()
        except OSError as error:
            raise RetryLater(f"cannot read {self._state.root}: {error}") from error

    def write(self, batch: Sequence[LogItem]) -> None:
        """Apply every item to its run's folder. The views show an ended session before this returns."""
        try:
            self._write(batch)
        finally:
            self._crash_marker.at(NOTHING)

    def _write(self, batch: Sequence[LogItem]) -> None:
        checked: set[bytes] = set()
        touched: dict[bytes, OpenRun] = {}
        for item in batch:
            uid = item.session.uid
            self._crash_marker.at(uid)
            held = self._quarantined.get(uid)
            if held is not None and not self._release(held):
                held.keep(item)
                continue
            try:
                if uid not in checked:
                    checked.add(uid)
                    self._crash_marker.raise_if_suspect(uid)
                    self._check_removed(uid)
                run = self._apply(item)
            except Exception as error:  # noqa: BLE001 - what fails over one run must not stop the others
                self._quarantine(uid, folder_names(item.session)[0], error).keep(item)
                continue
            if run is not None:
                touched[uid] = run
        for uid, run in touched.items():
            run.mark_written()
            if "end" in run.writer.changed:
                self._crash_marker.at(uid)
                # Durable before finish() returns: the folder may be moved then, and its ledger lists all.
                if run.writer.complete and (failure := _failure_of(run.writer)) is not None:
                    self._quarantine(uid, run.writer.folder.name, failure)
                else:
                    run.write_end_views()

    def flush(self) -> None:
        """Make all runs durable; then compact, make views and close runs, where that is due."""
        try:
            self._flush()
        finally:
            self._crash_marker.at(NOTHING)
        if self._crash_marker.suspect in self._runs:
            self._crash_marker.clear_suspect()

    def _flush(self) -> None:
        for held in list(self._quarantined.values()):
            self._release(held)
        self._crash_marker.at(NOTHING)
        for uid, run in list(self._runs.items()):
            try:
                self._check_removed(uid)
            except (OSError, TrackingError) as error:
                self._quarantine(uid, run.writer.folder.name, error)
        self._flush_all()
        for held in self._quarantined.values():
            held.sync()
        for uid, run in list(self._runs.items()):
            self._crash_marker.at(uid)
            if run.maintain():
                self._close_run(uid)
        for uid in sorted(self._runs, key=lambda uid: self._runs[uid].written_s)[:-MAX_OPEN_RUNS]:
            self._close_run(uid)

    def _flush_all(self) -> None:
        """Sync all runs, several at a time: a disk does many syncs together nearly as fast as one sync."""
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

    def _apply(self, item: LogItem) -> OpenRun | None:
        """Apply one item to its run's folder; return the run, None if the run was removed."""
        # A note about a pruned artifact names the removal before it, which may be later than the one that its
        # session names: the run's folder was removed and put back in between.
        described = item.note if isinstance(item, SessionNote) and AFTER in item.note else item.session.info
        if item.session.uid not in self._runs and self._was_taken_away(item.session):
            return None
        run = self._run(item.session, described)
        if run is not None:
            run.sessions.setdefault(item.session.session, item.session)
            run.writer.apply(item)
            make_jobs(self._state, run.writer)
        return run

    def _quarantine(self, uid: bytes, folder: str, error: Exception) -> Quarantine:
        """Put the run into quarantine; return the quarantine, which takes the run's items from now on.

        Raises:
            RetryLater: the error is not the fault of this folder.
            OSError: some events of the run were applied and are not durable; the worker has to start again.
        """
        if self.is_shared_fault(error):
            raise error if isinstance(error, RetryLater) else RetryLater(str(error)) from error
        held = self._quarantined.get(uid)
        if held is None:
            held = quarantine.begin(self._state, uid, folder)
            logger.error("run %s goes into quarantine at %s: %s", folder, held.place, error)
        held.failed(error, later=isinstance(error, StoreDiedError))
        if isinstance(error, StoreDiedError):
            self._crash_marker.clear_suspect()
        self._quarantined[uid] = held
        run = self._runs.pop(uid, None)
        if run is not None:
            only_in_log = run.writer.unsaved and held.empty
            with contextlib.suppress(OSError):  # the folder may refuse the removal of old files
                run.writer.close()
            if only_in_log:
                raise OSError(f"run {folder} was not made durable and is read again: {error}") from error
        return held

    def is_shared_fault(self, error: BaseException) -> bool:
        if isinstance(error, MemoryError):
            return True
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in SHARED_FAULTS:
            return True
        return not os.access(self._state.base_dir, os.W_OK | os.X_OK) or self._base_dir_is_away()

    def _base_dir_is_away(self) -> bool:
        try:
            self._base_dir.check()
        except RetryLater:
            return True
        return False

    def _release(self, held: Quarantine) -> bool:
        """Apply the quarantined items to the run's folder, if a try is due; return whether that succeeded.

        A quarantine without items is kept until some event of its run is durable. It may be that only the sync
        failed before, and only the next sync shows whether that is over.
        """
        if not held.due:
            return False
        self._crash_marker.at(held.uid)
        try:
            for items in held.items():
                for item in items:
                    self._apply(item)
            run = self._runs.get(held.uid)
            proven = not held.empty or (run is not None and run.writer.unsaved) or held.outlived
            if run is not None:
                run.writer.flush()
        except Exception as error:  # noqa: BLE001 - as in _write
            self._quarantine(held.uid, held.run, error)
            return False
        if proven:
            logger.info("run %s left quarantine", held.run)
            del self._quarantined[held.uid]
            held.remove()
        return True

    def close(self) -> None:
        """Close every run and every quarantine."""
        for uid in list(self._runs):
            self._close_run(uid)
        for held in self._quarantined.values():
            held.close()
        self._crash_marker.close()

    def on_run_removed(self, uid: str) -> None:
        """Close the run and delete its quarantine; nothing of it is written any more."""
        key = bytes.fromhex(uid)
        self._close_run(key)
        if (held := self._quarantined.pop(key, None)) is not None:
            held.close()
        quarantine.discard(self._state, key)

    def _close_run(self, uid: bytes) -> None:
        run = self._runs.pop(uid, None)
        if run is not None:
            if run.writer.complete:
                self._finished |= dict.fromkeys(run.sessions, run.writer.folder.name)
                while len(self._finished) > MAX_FINISHED:
                    del self._finished[next(iter(self._finished))]
            run.writer.close()

    def _was_taken_away(self, session: LoggedSession) -> bool:
        """Return whether the folder is absent of a run that was stored to its end; nothing makes it again.

        What still arrives says how the session ended, or what became of an artifact.
        """
        folder = self._finished.get(session.session)
        return folder is not None and self._base_dir.lacks(folder)

    def _run(self, session: LoggedSession, described: Mapping[str, Any]) -> OpenRun | None:
        """Return the session's run, opened; None if it was removed after what ``described`` describes."""
        run = self._runs.get(session.uid)
        stone = self._tombstones.of(session.uid) if run is None else run.stone
        if stone is not None and stone.covers(described):
            return None
        if run is None:
            folder = self._folder(session)
            run = OpenRun(RunWriter(folder, session.uid, self._collector), stone)
            self._runs[session.uid] = run
        return run

    def _folder(self, session: LoggedSession) -> Path:
        """Return the run's folder, made with its ``run.json`` if it is not there.

        Raises:
            RetryLater: ``base_dir`` is not there, or it is another folder than before.
            FormatError, OSError: which run the folder belongs to cannot be read now. Nothing was written.
        """
        for name in folder_names(session):
            try:
                folder = inside(self._state.base_dir, name)
            except InvalidNameError:
                continue
            if self._base_dir.lacks(name):
                folder.mkdir(exist_ok=True)
            elif not folder.is_dir():
                continue  # a file of this name must not stop all runs
            owner_uid = owner(folder)
            if owner_uid is not None and owner_uid != session.uid:
                continue
            if owner_uid is None or not has_run_file(folder):
                write_run_file(folder, session)
            self._base_dir.prove(folder)
            return folder
        raise RetryLater(f"every folder name for run {session.uid.hex()} is taken by another run")

    def _check_removed(self, uid: bytes) -> None:
        """Make a folder again that was removed while its run was live; the events it held become a gap."""
        run = self._runs.get(uid)
        if run is None or not run.writer.removed():
            return
        self._base_dir.check()  # where the disk is not mounted, every folder seems to be removed
        if not run.writer.removed():
            return
        self._close_run(uid)
        if run.writer.complete:
            return  # the user moved or removed it after the end
        logger.error("folder %s was removed while its run was live", run.writer.folder.name)
        for session in run.sessions.values():
            new = self._run(session, session.info)
            if new is not None:
                new.sessions[session.session] = session
                new.writer.write_off(session, run.writer.last(session.session), "run_folder_removed")


def _failure_of(writer: RunWriter) -> Exception | None:
    """Make a run durable; return why that could not be."""
    try:
        writer.flush()
    except (OSError, RetryLater) as error:
        return error
    return None

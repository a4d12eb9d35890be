"""The sink that writes run folders: finds each run's folder and keeps its writer, views and end in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from neural.tracking.collector.store.run import RunWriter
from neural.tracking.errors import InvalidNameError, RetryLater, TrackingError
from neural.tracking.files import inside
from neural.tracking.names import check_run_name
from neural.tracking.opening import RunFile, folder_name
from neural.tracking.reader import views
from neural.tracking.sinks.base import Item, SessionInfo
from neural.tracking.state import State

logger = logging.getLogger(__name__)

MAX_OPEN_RUNS = 200
SYNC_THREADS = 16
# A view costs what it costs; it is made again only after many times as long.
VIEW_PAUSE_FACTOR = 20
SUMMARY_EVERY_S = 10.0


class _Open:
    """A run that is being written, and when its views may be made again."""

    def __init__(self, writer: RunWriter) -> None:
        self.writer = writer
        self.sessions: dict[bytes, SessionInfo] = {}
        self.views_after_s = 0.0
        self.summary_after_s = time.monotonic() + SUMMARY_EVERY_S
        self.written_s = time.monotonic()
        self.summary_stale = False


class StoreSink:
    """Delivers to ``<base_dir>/<name>_<id>/``."""

    name = "store"

    def __init__(self, state: State) -> None:
        self._state = state
        self._collector = ""
        self._runs: dict[bytes, _Open] = {}
        self._gone: set[bytes] = set()

    def open(self) -> None:
        """Learn this state folder's identity; run folders are opened as the log names them."""
        try:
            self._collector = self._state.collector_id()
        except OSError as error:
            raise RetryLater(f"cannot read {self._state.root}: {error}") from error

    def write(self, batch: Sequence[Item]) -> None:
        """Apply every item to its run's folder; ends are shown in the views before this returns."""
        looked: set[bytes] = set()
        touched: dict[bytes, _Open] = {}
        for item in batch:
            uid = item.session.uid
            if uid not in looked:
                looked.add(uid)
                self._check_removed(uid)
            run = self._run(item.session)
            if run is None:
                continue
            run.sessions.setdefault(item.session.session, item.session)
            run.writer.apply(item)
            touched[uid] = run
        for run in touched.values():
            run.written_s = time.monotonic()
            run.summary_stale = True
            if "end" in run.writer.changed:
                self._show_end(run)

    def flush(self) -> None:
        """Make all runs durable; then compact, show and let go of what is due."""
        for uid in list(self._runs):
            self._check_removed(uid)
        self._flush_all()
        for uid, run in list(self._runs.items()):
            try:
                self._keep_house(uid, run)
            except (RetryLater, OSError) as error:
                # Durable already; compaction and views wait for better times.
                logger.error("%s was not tidied: %s", run.writer.folder.name, error)
        for uid in sorted(self._runs, key=lambda uid: self._runs[uid].written_s)[:-MAX_OPEN_RUNS]:
            self._close(uid)

    def _flush_all(self) -> None:
        """Sync all runs, several at a time: a disk does many syncs together nearly as fast as one."""
        writers = [run.writer for run in self._runs.values() if run.writer.unsaved]
        if len(writers) < 2:
            for writer in writers:
                writer.flush()
            return
        with ThreadPoolExecutor(max_workers=min(len(writers), SYNC_THREADS)) as pool:
            for flushed in [pool.submit(writer.flush) for writer in writers]:
                flushed.result()

    def close(self) -> None:
        """Let go of every run."""
        for uid in list(self._runs):
            self._close(uid)

    def run_gone(self, uid: str) -> None:
        """Forget a run that was deleted; nothing of it is written any more."""
        key = bytes.fromhex(uid)
        self._gone.add(key)
        self._close(key)

    def _close(self, uid: bytes) -> None:
        run = self._runs.pop(uid, None)
        if run is not None:
            run.writer.close()

    def _run(self, session: SessionInfo) -> _Open | None:
        """Return the open run of a session, None if the run was deleted."""
        run = self._runs.get(session.uid)
        if run is None:
            if session.uid in self._gone or (self._state.tombstones / session.uid.hex()).exists():
                return None
            try:
                folder = self._folder(session)
                run = self._runs[session.uid] = _Open(RunWriter(folder, session.uid, self._collector))
            except OSError as error:
                raise RetryLater(f"cannot open the folder of run {session.uid.hex()}: {error}") from error
        return run

    def _folder(self, session: SessionInfo) -> Path:
        """Return the run's folder, made with its ``run.json`` if it is not there."""
        if not self._state.base_dir.is_dir():
            raise RetryLater(f"{self._state.base_dir} is not there")
        for name in _folder_names(session):
            try:
                folder = inside(self._state.base_dir, name)
            except InvalidNameError:
                continue
            found = RunFile.read(folder)
            if found is not None and found.uid != session.uid:
                continue
            if folder.exists() and not folder.is_dir():
                continue  # a file in one run's place must not hold up all runs
            if found is None:
                folder.mkdir(exist_ok=True)
                _write_run_file(folder, session)
            return folder
        raise RetryLater(f"every folder name for run {session.uid.hex()} is taken by another run")

    def _check_removed(self, uid: bytes) -> None:
        """Make a folder that was taken away anew; what it held is a gap."""
        run = self._runs.get(uid)
        if run is None or not run.writer.removed():
            return
        logger.error("folder %s was removed while its run was live", run.writer.folder.name)
        self._close(uid)
        for session in run.sessions.values():
            made = self._run(session)
            if made is not None:
                made.sessions[session.session] = session
                made.writer.write_off(session, run.writer.last(session.session), "run_folder_removed")

    def _show_end(self, run: _Open) -> None:
        try:
            views.write_views(run.writer.folder)
        except (OSError, TrackingError) as error:
            logger.error("views of %s were not written: %s", run.writer.folder.name, error)
            return
        run.writer.changed.clear()
        run.summary_stale = False

    def _keep_house(self, uid: bytes, run: _Open) -> None:
        writer, now = run.writer, time.monotonic()
        if not writer.open_sessions:
            writer.compact()
            writer.flush()
        writer.compact_when_due()
        if run.summary_stale and now > run.summary_after_s:
            writer.changed.add("summary")
        if writer.changed and now > run.views_after_s:
            names = writer.changed | ({"metadata", "summary"} if "end" in writer.changed else set())
            views.write_views(writer.folder, names & set(views.NAMES))
            writer.changed.clear()
            run.summary_stale = run.summary_stale and "summary" not in names
            spent = time.monotonic() - now
            run.views_after_s = now + VIEW_PAUSE_FACTOR * spent
            run.summary_after_s = now + SUMMARY_EVERY_S + VIEW_PAUSE_FACTOR * spent
        if not (writer.open_sessions or writer.changed or writer.parts.sweeping):
            writer.flush()
            self._close(uid)


def _folder_names(session: SessionInfo) -> list[str]:
    """Return the names the run's folder may have, the one its session asks for first."""
    told, name = session.info.get("dir"), session.info.get("name")
    names = [told] if isinstance(told, str) else []
    try:
        names.append(folder_name(check_run_name(name), session.uid))  # type: ignore[arg-type]
    except (TypeError, InvalidNameError):
        names.append(folder_name("run", session.uid))
    names.append(f"run_{session.uid.hex()}")
    return [name for name in names if not set(name) & {"/", "\0"} and not name.startswith(".")]


def _write_run_file(folder: Path, session: SessionInfo) -> None:
    info = session.info
    opened_ns = info["opened_ns"] if isinstance(info.get("opened_ns"), int) else time.time_ns()
    run = RunFile(session.uid, str(info.get("name", "run")), opened_ns, str(info.get("key", "")))
    pid = info["pid"] if isinstance(info.get("pid"), int) else 0
    run.write(folder, host=str(info.get("host", "")), pid=pid, durable=True)

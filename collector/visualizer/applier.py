"""Counts in the log how much each run logged, and has a renderer draw the runs, one at a time.

The log only says that events came, and how many. The renderer, another process, reads the points from the run
folder, so this process stays small. It may read the log as far as the store has applied it: the run folder then
has everything that was counted. No other part waits for this process, and the log is not kept for it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.collector.applier import Applier, Report
from neural.tracking.collector.log.items import EventBatch, LoggedSession, LogItem, SessionMark
from neural.tracking.collector.visualizer.renderer_process import RendererProcess, renderer_command
from neural.tracking.collector.visualizer.schedule import MOST_WAITS, Schedule
from neural.tracking.core.files import atomic_write, inside, read_json
from neural.tracking.errors import ConfigError, FormatError, InvalidNameError
from neural.tracking.figures.saving import AUTOMATIC, FOLDER
from neural.tracking.formats import event_stream, events, segment
from neural.tracking.formats.run_file import RunFile
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.sink_state.status import known_sinks
from neural.tracking.state.paths import State

if TYPE_CHECKING:
    from neural.tracking.reader.run import Run

logger = logging.getLogger(__name__)

DEADLINE_S = 60.0  # of processor time for one plot: time in which other processes have the core does not count
AT_WORK_S, AT_REST_S = 0.25, 5.0  # how soon to look after the renderer again
MISSED_S = 86_400.0  # after a hole in the log, runs that ended longer ago are not looked at
RENDERER_STAYS_S = 60.0  # with nothing to draw; its imports cost more than a round


class VisualizerApplier(Applier):
    """The applier of the visualizer worker. Its ``flush`` begins and ends rounds of drawing."""

    name = "visualizer"

    def __init__(
        self,
        state: State,
        *,
        niceness: int = 19,
        deadline_s: float = DEADLINE_S,
        command: Callable[[int], list[str]] = renderer_command,
    ) -> None:
        self._state = state
        self._report: Report = lambda line: None
        self._renderer_command = command(niceness)
        self._deadline_s = deadline_s
        self._schedule = Schedule()
        self._unwanted: set[bytes] = set()
        self._renderer: RendererProcess | None = None
        self._drawing, self._drawn_s = (
            state.base_dir,
            time.monotonic(),
        )  # the run's folder, and when it was drawn
        self._may_pass = False  # whether the error of this round may pass, as a full disk does
        self._saved: dict[str, Any] = {}
        self._save_failed = False
        self._has_due: bool | None = None

    @property
    def flush_every_s(self) -> float:
        """How soon a round may have to begin or end."""
        if self._renderer is not None and self._renderer.at_work:
            return AT_WORK_S
        due_s = self._schedule.next_due_s()
        return AT_REST_S if due_s is None else min(AT_REST_S, max(AT_WORK_S, due_s - time.monotonic()))

    @property
    def idle_flush_s(self) -> float:
        """As ``flush_every_s``: rounds begin and end whether or not something comes."""
        return self.flush_every_s

    def report_to(self, report: Report) -> None:
        """Take the function that sends a line to the supervisor."""
        self._report = report

    def on_log_skipped(self) -> None:
        """Find the runs that ended in the part of the log that was missed."""
        from neural.tracking.reader.run_list import list_runs, without_copies

        for run in without_copies(list_runs(self._state.base_dir, "skip")):
            try:
                if _wants_last_round(run) and self._watch_folder(run.uid, run):
                    self._schedule.missed(run.uid)
            except OSError as error:
                self._report_error(f"run {run.folder.name} cannot be read: {error}")
        self._drive_renderer()

    def open(self) -> None:
        """Read which rounds a predecessor has not drawn."""
        try:
            found = read_json(self._state.plots_due) or {}
            self._schedule.resume(found)
            self._saved = found
        except (OSError, ValueError) as error:
            logger.warning("the list of due plots could not be read: %s", error)

    def write(self, batch: Sequence[LogItem]) -> None:
        """Count the log calls of each run that wants plots; begin a round where one is due."""
        for item in batch:
            if isinstance(item, EventBatch):
                self._count(item)
            elif isinstance(item, SessionMark):
                over = item.ended is not None and item.last >= item.ended
                self._end(item.session, over)
            else:
                self._end(item.session, item.note["kind"] in ("bye", "died"))
        self._drive_renderer()

    def flush(self) -> None:
        """Look after the renderer; save for a successor which rounds are due."""
        self._drive_renderer()
        self._save()

    def close(self) -> None:
        """End the renderer, also in the middle of a round: a successor draws that round."""
        self._save()
        if self._renderer is not None:
            self._renderer.end()
            self._renderer = None

    def on_run_removed(self, uid: str) -> None:
        """Draw this run no more."""
        self._schedule.forget(bytes.fromhex(uid))

    def _end(self, session: LoggedSession, over: bool) -> None:
        if over:
            self._schedule.ended(session.uid, session.session)

    def _count(self, batch: EventBatch) -> None:
        uid = batch.session.uid
        if uid in self._unwanted or (uid not in self._schedule and not self._watch(batch.session)):
            return
        calls, ended = _calls_in(batch)
        self._schedule.logged(uid, batch.session.session, calls)
        if ended:
            self._schedule.ended(uid, batch.session.session)

    def _watch(self, session: LoggedSession) -> bool:
        """Add a run that is new here to the schedule; return whether it can be drawn and wants plots."""
        from neural.tracking.reader.run import Run

        try:
            folder = run_folder(self._state.base_dir, session)
            return folder is not None and self._watch_folder(session.uid, Run(folder, "skip"))
        except OSError as error:
            self._report_error(f"run {session.uid.hex()[:8]} cannot be read: {error}")
            return False

    def _watch_folder(self, uid: bytes, run: Run) -> bool:
        if run.settings.get("auto_visualize") is False:
            self._unwanted.add(uid)
            return False
        every = run.settings.get("visualize_every")
        every = every if isinstance(every, int) else None
        self._schedule.watch(uid, run.folder.name, every, logged=run.has_points)
        return True

    def _drive_renderer(self) -> None:
        """Read the renderer's answers, end it where it hangs or is idle for long, and give it the next run."""
        now_s = time.monotonic()
        if self._renderer is not None and self._renderer.at_work:
            self._check_round(self._renderer, now_s)
        if self._renderer is None or not self._renderer.at_work:
            self._begin(now_s)
        idle_s = now_s - self._drawn_s
        if self._renderer is not None and not self._renderer.at_work and idle_s > RENDERER_STAYS_S:
            self._renderer.end()
            self._renderer = None
        has_due = self._schedule.has_due_rounds()
        if has_due != self._has_due:
            self._has_due = has_due
            self._report({"owes": has_due})

    def _begin(self, now_s: float) -> None:
        while (found := self._schedule.begin(now_s)) is not None:
            uid, name = found
            folder = self._state.base_dir / name
            if not folder.is_dir():
                self._schedule.forget(uid)
                self._schedule.done(now_s, 0.0)
                continue
            try:
                if self._renderer is None:
                    self._renderer = RendererProcess(self._renderer_command)
                self._renderer.draw(folder)
                self._drawing, self._may_pass = folder, False
            except OSError as error:
                self._on_renderer_lost(f"the renderer did not start: {error}", now_s)
            return

    def _check_round(self, renderer: RendererProcess, now_s: float) -> None:
        for line in renderer.receive():
            if "failed" in line:
                where = f"{line.get('folder')}: {line['failed']}"
                self._report_error(f"plot was not drawn: {where}: {line.get('why')}")
                self._may_pass = self._may_pass or line.get("passing") is True
            if "done" in line:
                self._drawn_s = now_s
                if self._may_pass:
                    self._schedule.failed(now_s, MOST_WAITS)
                    return
                last = self._schedule.done(now_s, float(line["done"]))
                if last is not None:
                    self._ask_sinks(last, self._drawing)
                return
        if not renderer.alive():
            self._on_renderer_lost("the renderer died", now_s)
        elif renderer.spent_s() > self._deadline_s:
            self._on_renderer_lost(f"the renderer hung for {self._deadline_s:g} s and was killed", now_s)

    def _ask_sinks(self, uid: bytes, folder: Path) -> None:
        """Ask the run's sinks to deliver its last plots, before the next save drops the run."""
        from neural.tracking.reader.run import Run

        try:
            named = Run(folder, "skip").settings.get("backend") or ()
            known = known_sinks(self._state)
            names = [name for name in {*known, *named} if name not in known or known[name].enabled]
            for name in names:
                SinkFolder(self._state, name).request_delivery(uid.hex(), folder, if_concerned=True)
        except (OSError, ConfigError) as error:
            self._report_error(f"sinks were not told of the plots of {folder.name}: {error}")
            return
        if names:
            self._report({"errands": names})

    def _on_renderer_lost(self, why: str, now_s: float) -> None:
        if self._renderer is not None:
            self._renderer.end()
            self._renderer = None
        again = self._schedule.failed(now_s)
        then = "it starts again" if again else "this round is given up"
        self._report_error(f"{why}; {then}: {self._drawing.name}")

    def _report_error(self, error: str) -> None:
        logger.error("%s", error)
        self._report({"error": error})

    def _save(self) -> None:
        pending = self._schedule.pending()
        if pending == self._saved:
            return
        try:
            if pending:
                atomic_write(self._state.plots_due, json.dumps(pending).encode(), durable=False, mode=0o600)
            else:
                self._state.plots_due.unlink(missing_ok=True)
        except OSError as error:
            if not self._save_failed:  # logged once: every flush tries again
                logger.warning("the list of due plots was not saved: %s", error)
            self._save_failed = True
            return
        self._save_failed = False
        self._saved = pending


def _wants_last_round(run: Run) -> bool:
    """Return whether the run ended not long ago and its plots are older than its end."""
    changed_s = max((path.stat().st_mtime for path in run.folder.glob("events-*.jsonl")), default=0.0)
    plots = (run.folder / FOLDER).glob(f"{AUTOMATIC}*.png")
    drawn_s = max((path.stat().st_mtime for path in plots), default=0.0)
    recent = time.time() - changed_s < MISSED_S
    return recent and drawn_s < changed_s and run.end_ns is not None and run.has_points


def run_folder(base_dir: Path, session: LoggedSession) -> Path | None:
    """Return the folder that the store made for a session's run, None where there is none."""
    for name in _folder_names(base_dir, session):
        try:
            found = RunFile.read(inside(base_dir, name))
        except (InvalidNameError, ValueError):
            continue
        if found is not None and found.uid == session.uid:
            return base_dir / name
    return None


def _folder_names(base_dir: Path, session: LoggedSession) -> Iterator[str]:
    told = session.info.get("dir")
    if isinstance(told, str):
        yield told
    yield from (path.name for path in base_dir.glob(f"*_{session.uid.hex()[:8]}"))
    yield f"run_{session.uid.hex()}"


def _calls_in(batch: EventBatch) -> tuple[int, bool]:
    """Return how many log calls are in a batch, and whether it ends the session."""
    calls, ended = 0, False
    try:
        for pos, count, length, kind, _ in event_stream.record_runs(batch.payload):
            if kind == segment.METRICS:
                calls += count
            elif kind == segment.EVENT:
                found = events.unpack_event(batch.payload[pos + segment.FRAME_BYTES : pos + length]).kind
                calls += found == "metrics"
                ended = ended or found == "end"
    except FormatError as error:
        logger.warning("events %d to %d could not be decoded: %s", batch.first, batch.last, error)
    return calls, ended

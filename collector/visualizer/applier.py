"""Watches the log for what there is to draw and has a renderer draw it, one run at a time.

The log only says that something came, and how much; the points are read from the run folder, by the
renderer. So this process stays small, and it is told of the log only what the store has applied: what
it sees there can be read. Nobody waits for it, the log least of all.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.collector.log.items import EventBatch, LoggedSession, LogItem, SessionMark
from neural.tracking.collector.visualizer.renderer_process import RendererProcess, renderer_command
from neural.tracking.collector.visualizer.schedule import MOST_WAITS, Schedule
from neural.tracking.core.files import atomic_write, inside, read_json
from neural.tracking.errors import ConfigError, FormatError, InvalidNameError
from neural.tracking.figures.places import AUTOMATIC, FOLDER
from neural.tracking.formats import events, segment
from neural.tracking.formats.run_file import RunFile
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.sink_state.status import known_sinks
from neural.tracking.state.paths import State

if TYPE_CHECKING:
    from neural.tracking.reader.run import Run

logger = logging.getLogger(__name__)

DEADLINE_S = 60.0  # of the renderer's own time, a picture: a core that others take does not count
LOOK_S, REST_S = 0.25, 5.0
MISSED_S = 86_400.0  # runs that ended longer ago are left alone where the log went on without this worker
RENDERER_STAYS_S = 60.0  # with nothing to draw: its imports cost more than a round


class VisualizerApplier:
    """The applier of the visualizer worker."""

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
        self._say: Callable[[dict[str, Any]], None] = lambda line: None
        self._renderer_command = command(niceness)
        self._deadline_s = deadline_s
        self._plan = Schedule()
        self._unwanted: set[bytes] = set()
        self._renderer: RendererProcess | None = None
        self._drawn, self._drawn_s = state.base_dir, time.monotonic()  # which run's folder, and when
        self._passing = False  # whether what kept this round's pictures from being written may pass
        self._saved: dict[str, Any] = {}
        self._unkept = False
        self._owes: bool | None = None

    @property
    def flush_within_s(self) -> float:
        """How soon the worker is to call ``flush`` again: it is where rounds begin and end."""
        if self._renderer is not None and self._renderer.at_work:
            return LOOK_S
        due_s = self._plan.next_due_s()
        return REST_S if due_s is None else min(REST_S, max(LOOK_S, due_s - time.monotonic()))

    def connected(self, say: Callable[[dict[str, Any]], None]) -> None:
        """Take the way to tell the supervisor."""
        self._say = say

    def skipped(self) -> None:
        """Find the runs that ended in what was missed: the log does not wait for pictures."""
        from neural.tracking.reader.run_list import list_runs, without_copies

        for run in without_copies(list_runs(self._state.base_dir, "skip")):
            try:
                if _wants_last_round(run) and self._watch_folder(run.uid, run):
                    self._plan.missed(run.uid)
            except OSError as error:
                self._complain(f"run {run.folder.name} cannot be read: {error}")
        self._turn()

    def open(self) -> None:
        """Take up what a predecessor did not get to draw."""
        try:
            found = read_json(self._state.pictures_due) or {}
            self._plan.resume(found)
            self._saved = found
        except (OSError, ValueError) as error:
            logger.warning("what was due before was not understood: %s", error)

    def write(self, batch: Sequence[LogItem]) -> None:
        """Count what came for each run that wants pictures; begin a round where one is due."""
        for item in batch:
            if isinstance(item, EventBatch):
                self._count(item)
            elif isinstance(item, SessionMark):
                over = item.ended is not None and item.last >= item.ended
                self._end(item.session, over)
            else:
                self._end(item.session, item.note["kind"] in ("bye", "died"))
        self._turn()

    def flush(self) -> None:
        """See how the renderer is doing; keep for a successor what is still to be drawn."""
        self._turn()
        self._save()

    def close(self) -> None:
        """Let go of the renderer, also in the middle of a round: a successor draws it."""
        self._save()
        if self._renderer is not None:
            self._renderer.end()
            self._renderer = None

    def run_gone(self, uid: str) -> None:
        """Forget a run that was deleted."""
        self._plan.forget(bytes.fromhex(uid))

    def _end(self, session: LoggedSession, over: bool) -> None:
        if over:
            self._plan.ended(session.uid, session.session)

    def _count(self, batch: EventBatch) -> None:
        uid = batch.session.uid
        if uid in self._unwanted or (uid not in self._plan and not self._watch(batch.session)):
            return
        calls, ended = _calls_in(batch)
        self._plan.logged(uid, batch.session.session, calls)
        if ended:
            self._plan.ended(uid, batch.session.session)

    def _watch(self, session: LoggedSession) -> bool:
        """Watch a run that is seen for the first time; return whether it can be drawn and wants to be."""
        from neural.tracking.reader.run import Run

        try:
            folder = run_folder(self._state.base_dir, session)
            return folder is not None and self._watch_folder(session.uid, Run(folder, "skip"))
        except OSError as error:
            self._complain(f"run {session.uid.hex()[:8]} cannot be read: {error}")
            return False

    def _watch_folder(self, uid: bytes, run: Run) -> bool:
        if run.settings.get("auto_visualize") is False:
            self._unwanted.add(uid)
            return False
        every = run.settings.get("visualize_every")
        every = every if isinstance(every, int) else None
        self._plan.watch(uid, run.folder.name, every, logged=run.has_points)
        return True

    def _turn(self) -> None:
        """Take in what the renderer says, see whether it hangs, give it the next run, let it go when idle."""
        now_s = time.monotonic()
        if self._renderer is not None and self._renderer.at_work:
            self._look(self._renderer, now_s)
        if self._renderer is None or not self._renderer.at_work:
            self._begin(now_s)
        idle_s = now_s - self._drawn_s
        if self._renderer is not None and not self._renderer.at_work and idle_s > RENDERER_STAYS_S:
            self._renderer.end()
            self._renderer = None
        owes = self._plan.owes()
        if owes != self._owes:
            self._owes = owes
            self._say({"owes": owes})

    def _begin(self, now_s: float) -> None:
        while (found := self._plan.begin(now_s)) is not None:
            uid, name = found
            folder = self._state.base_dir / name
            if not folder.is_dir():
                self._plan.forget(uid)
                self._plan.done(now_s, 0.0)
                continue
            try:
                if self._renderer is None:
                    self._renderer = RendererProcess(self._renderer_command)
                self._renderer.draw(folder)
                self._drawn, self._passing = folder, False
            except OSError as error:
                self._lost(f"the renderer did not start: {error}", now_s)
            return

    def _look(self, renderer: RendererProcess, now_s: float) -> None:
        for line in renderer.receive():
            if "failed" in line:
                where = f"{line.get('folder')}: {line['failed']}"
                self._complain(f"picture was not drawn: {where}: {line.get('why')}")
                self._passing = self._passing or line.get("passing") is True
            if "done" in line:
                self._drawn_s = now_s
                if self._passing:
                    self._plan.failed(now_s, MOST_WAITS)
                    return
                last = self._plan.done(now_s, float(line["done"]))
                if last is not None:
                    self._hand_over(last, self._drawn)
                return
        if not renderer.alive():
            self._lost("the renderer died", now_s)
        elif renderer.spent_s() > self._deadline_s:
            self._lost(f"the renderer hung for {self._deadline_s:g} s and was killed", now_s)

    def _hand_over(self, uid: bytes, folder: Path) -> None:
        """Leave word to the sinks of a run that its last pictures are there, before that is forgotten here."""
        from neural.tracking.reader.run import Run

        try:
            named = Run(folder, "skip").settings.get("backend") or ()
            known = known_sinks(self._state)
            names = [name for name in {*known, *named} if name not in known or known[name].enabled]
            for name in names:
                SinkFolder(self._state, name).ask(uid.hex(), folder, if_concerned=True)
        except (OSError, ConfigError) as error:
            self._complain(f"sinks were not told of the pictures of {folder.name}: {error}")
            return
        if names:
            self._say({"errands": names})

    def _lost(self, why: str, now_s: float) -> None:
        if self._renderer is not None:
            self._renderer.end()
            self._renderer = None
        again = self._plan.failed(now_s)
        then = "it starts again" if again else "this round is given up"
        self._complain(f"{why}; {then}: {self._drawn.name}")

    def _complain(self, error: str) -> None:
        logger.error("%s", error)
        self._say({"error": error})

    def _save(self) -> None:
        pending = self._plan.pending()
        if pending == self._saved:
            return
        try:
            if pending:
                atomic_write(self._state.pictures_due, json.dumps(pending).encode(), durable=False, mode=0o600)
            else:
                self._state.pictures_due.unlink(missing_ok=True)
        except OSError as error:
            if not self._unkept:  # every flush tries again
                logger.warning("what is due was not kept: %s", error)
            self._unkept = True
            return
        self._unkept = False
        self._saved = pending


def _wants_last_round(run: Run) -> bool:
    """Return whether a run has ended, not long ago, and its pictures are older than that."""
    changed_s = max((path.stat().st_mtime for path in run.folder.glob("events-*.jsonl")), default=0.0)
    pictures = (run.folder / FOLDER).glob(f"{AUTOMATIC}*.png")
    drawn_s = max((path.stat().st_mtime for path in pictures), default=0.0)
    recent = time.time() - changed_s < MISSED_S
    return recent and drawn_s < changed_s and run.end_ns is not None and run.has_points


def run_folder(base_dir: Path, session: LoggedSession) -> Path | None:
    """Return the folder that the store gave a session's run, None where it is not there."""
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
        for pos, count, length, kind, _ in events.record_runs(batch.payload):
            if kind == segment.METRICS:
                calls += count
            elif kind == segment.EVENT:
                found = events.unpack_event(batch.payload[pos + segment.FRAME_BYTES : pos + length]).kind
                calls += found == "metrics"
                ended = ended or found == "end"
    except FormatError as error:
        logger.warning("events %d to %d were not understood: %s", batch.first, batch.last, error)
    return calls, ended

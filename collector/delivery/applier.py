"""From the log to a sink: which runs are its, every event once and in order, and where it stands.

Order and completeness come from the numbers, not from positions: a session's next event is the one
after the last that was taken. What the log no longer has between the two (the sink is new, was
detached, or the log began anew) is read from the run's folder first.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural.tracking.collector.applier import Applier, Report
from neural.tracking.collector.delivery import dead_letters
from neural.tracking.collector.delivery.attempts import Attempts
from neural.tracking.collector.delivery.delivery_queue import DeliveryQueue
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.run_progress import OpenRun, RunProgress
from neural.tracking.collector.delivery.sink_guard import NotInstalled, SinkGuard
from neural.tracking.collector.log.items import EventBatch, LogItem, SessionNote
from neural.tracking.core.files import read_json, write_json
from neural.tracking.errors import FormatError, HoldRun, RetryLater, WriteAgain
from neural.tracking.reader.event_replay import Emitted, emitted, vouched
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs, without_copies
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.sinks.base import RunEvent, SinkPlace
from neural.tracking.state.artifact_jobs import KIND as ARTIFACT
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)

FOLDER_BATCH = 1000
SAY_EVERY_S = 1.0
REFUSED_S = 60.0


class SinkApplier(Applier):
    """Applies the log to one sink."""

    def __init__(self, config: SinkConfig, state: State) -> None:
        self.name = config.name
        self._config = config
        self._state = state
        self._folder = SinkFolder(state, config.name)
        self._trying = Attempts(self._folder.trying)
        self._runs = RunProgress(config, state, self._folder)
        self._holds = HeldRuns(self._folder)
        self._border: SinkGuard | None = None
        self._made: DeliveryQueue | None = None
        self._errand = False
        self._sweep = False
        self._say: Report = lambda line: None
        self._about: dict[str, Any] = {}
        self._inherits_trouble = False  # told until the backend takes something, or nothing is for it
        self._said_s = 0.0

    @property
    def _outgoing(self) -> DeliveryQueue:
        assert self._made is not None, "open() comes first"
        return self._made

    @property
    def flush_every_s(self) -> float:
        """How long the sink wants to be written to before it has to make that durable."""
        return 1.0 if self._border is None else self._border.flush_every_s

    def report_to(self, report: Report) -> None:
        """Take the way to tell the supervisor."""
        self._say = report

    def on_command(self, command: Mapping[str, Any]) -> None:
        """Hear the supervisor: an errand is to deliver a run from its folder."""
        self._errand = self._errand or bool(command.get("errand"))

    def on_log_skipped(self) -> None:
        """The log does not go on where the cursor was: whole runs may have been missed."""
        self._sweep = True

    def on_run_removed(self, uid: str) -> None:
        """Forget a run that was deleted."""
        self._runs.forget(uid)
        self._holds.release(uid)
        self._errand = True  # the one a held run left is done
        if self._made is not None:
            self._made.forget(uid)

    def open(self) -> None:
        """Learn where the predecessor was; the backend is opened at the first event for it."""
        try:
            self._folder.make()
            self._trying.open()
            writer = self._state.collector_id()
            place = SinkPlace(self.name, self._state.base_dir, writer, self._config.call_timeout_s)
        except OSError as error:
            raise RetryLater(f"cannot use {self._folder.root}: {error}") from error
        self._border = SinkGuard(self._config, place, self._trying)
        self._made = DeliveryQueue(self._border, self._trying, self._runs, self._holds, self._folder)
        with contextlib.suppress(OSError, ValueError):
            self._inherits_trouble = (read_json(self._folder.about) or {}).get("state") == "retrying"
        self._sweep = self._runs.is_new() or (self._folder.root / "sweep").exists()
        self._errand = True

    def write(self, batch: Sequence[LogItem]) -> None:
        """Take the items, deliver full batches; the rest waits for company until the flush."""
        with self._telling():
            for item in batch:
                self._take(item)
            self._outgoing.drain_full()

    def tick(self) -> None:
        """Deliver what waited for company: about a second after it came."""
        with self._telling():
            self._do_errands()
            self._outgoing.drain()

    def flush(self) -> None:
        """Deliver all that was taken and make it durable, then remember how far each run came."""
        with self._telling():
            self._do_errands()
            self._outgoing.drain()
            self._outgoing.settle()
            self._runs.tidy()

    def close(self) -> None:
        """Let go of the sink."""
        if self._border is not None:
            self._border.close()
        self._trying.close()

    # Taking

    def _take(self, item: LogItem) -> None:
        run = self._runs.of_session(item.session)
        if run is None:
            return
        session = item.session.session.hex()
        if self._waits(run):
            _pass_over(run, session, item)
            return
        if isinstance(item, EventBatch):
            taken = run.taken(session)
            if item.last <= taken:
                return
            if item.first > taken + 1:
                self._fill(run, {session: item.first - 1})
                if self._waits(run):
                    _pass_over(run, session, item)
                    return
            for event in _events(item, max(taken, run.taken(session))):
                self._append(run, session, event)
            run.took(session, item.last)
            self._outgoing.upto(run, session, item.last)
        elif isinstance(item, SessionNote) and item.note["kind"] == ARTIFACT:
            self._append_artifact(run, session, item.note["key"], item.note)
        elif isinstance(item, SessionNote):
            run.heard(session, item.note)
            self._append_status(run)

    def _waits(self, run: OpenRun) -> bool:
        """Return whether the run is held back, or was and its folder is still behind the log."""
        return self._holds.reason(run.info.uid) is not None or run.is_behind()

    def _append_artifact(self, run: OpenRun, session: str, seq: str, outcome: Mapping[str, Any]) -> None:
        made = run.stored_artifact(session, seq, outcome)
        if made is not None:
            self._outgoing.append(run, made)

    def _append(self, run: OpenRun, session: str, event: Emitted) -> None:
        if event.kind == ARTIFACT:
            run.await_artifact(session, event)
            run.took(session, event.seq)
            return
        rank = run.rank(session)
        made = RunEvent(run.info, session, rank, event.seq, event.time_ns, event.step, event.kind, event.data)
        self._outgoing.append(run, made)
        run.took(session, event.seq)
        if run.fold(session, event):
            self._append_status(run)

    def _append_status(self, run: OpenRun) -> None:
        """Let the run's status follow where it changed."""
        told = run.changed_status()
        if told is not None:
            time_ns = told.pop("ended_ns") or time.time_ns()
            self._outgoing.append(run, RunEvent(run.info, "", 0, 0, time_ns, None, "status", told))

    def _fill(self, run: OpenRun, upto: Mapping[str, int]) -> None:
        """Take events from the run's folder, up to these numbers or to what is durable there."""
        folder = run.info.folder
        if not folder.is_dir():
            return
        try:
            there = vouched(folder)
            goal = {session: min(last, there.get(session, 0)) for session, last in upto.items()}
            after = {session: run.taken(session) for session in goal}
            for event in emitted(folder, after, goal):
                self._append(run, event.session, event)
                if len(self._outgoing) >= FOLDER_BATCH:
                    self._outgoing.drain_full()
            for session, last in goal.items():
                if last > run.taken(session):
                    run.took(session, last)
                self._outgoing.upto(run, session, run.taken(session))
        except OSError as error:
            raise RetryLater(f"cannot read {folder}: {error}") from error

    # Errands: runs from their folders, dead letters once more

    def _do_errands(self) -> None:
        self._errand = self._errand or self._holds.is_due()
        if not (self._errand or self._sweep):
            return
        if self._sweep:
            for found in without_copies(list_runs(self._state.base_dir, "skip")):
                if self._runs.concerns(found):
                    self._folder.ask(found.uid.hex(), found.folder)
            (self._folder.root / "sweep").unlink(missing_ok=True)
            self._sweep = False
        for file, uid, folder, if_concerned in self._folder.asked():
            if self._holds.reason(uid) and not self._holds.is_due(uid):
                continue
            self._holds.release(uid)
            if not if_concerned or (folder.is_dir() and self._runs.concerns(Run(folder, "skip"))):
                self._deliver_folder(uid, folder)
            if not self._holds.reason(uid):
                file.unlink(missing_ok=True)
        for path in sorted(self._folder.root.glob("retry-*.jsonl")):
            for letter in dead_letters.read(path):
                run = self._runs.of_letter(letter)
                self._outgoing.append_alone(run, _letter_event(run, letter))
            self._outgoing.drain()
            self._outgoing.settle()
            path.unlink(missing_ok=True)
        self._errand = False
        self._say({"errand": False})

    def _deliver_folder(self, uid: str, folder: Path) -> None:
        """Deliver what a run folder holds beyond what was delivered of it."""
        found = Run(folder, "skip")  # what is left is delivered; `ntrack verify` names what is not
        if not folder.is_dir() or found.uid.hex() != uid:
            behind = self._runs.behind(uid)
            if behind is not None:
                self._holds.hold(behind, HoldRun(uid, f"it is not in {folder} yet", after_s=SAY_EVERY_S))
            else:
                logger.error("run %s is not in %s any more", uid[:8], folder)
            return
        run = self._runs.of_folder(found)
        if run.refused is not None:
            self._holds.hold(run, HoldRun(uid, run.refused, after_s=REFUSED_S))
            return
        sessions = vouched(folder) or {name: found.last_seq(name) for name in found.facts.sessions}
        for name, facts in found.facts.sessions.items():
            run.describe(name, facts)
        self._fill(run, sessions)
        for entry in found.facts.artifacts.entries:
            if entry.outcome is not None:
                self._append_artifact(run, entry.session, str(entry.seq), entry.outcome)
        for place, outcome in run.share.outcomes.items():
            session, seq = place.split(":")
            self._append_artifact(run, session, seq, outcome)
        for name, facts in found.facts.sessions.items():
            run.settle_facts(name, facts)
        self._append_status(run)
        try:
            for picture in run.new_pictures():
                self._outgoing.append(run, picture)
        except OSError as error:
            raise RetryLater(f"cannot read the pictures of {folder}: {error}") from error
        self._outgoing.drain()
        if not self._holds.reason(uid) and not run.caught_up():
            self._holds.hold(run, HoldRun(uid, "its folder is still being written", after_s=SAY_EVERY_S))
        self._outgoing.settle()

    # Telling

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell how it went, where that changed.

        Raises:
            SystemExit: the backend lost what it was given; a new process begins where all was durable.
        """
        try:
            yield
        except RetryLater as error:
            state = "not installed" if isinstance(error, NotInstalled) else "retrying"
            self._tell(state, str(error), self._outgoing.oldest_ns())
            if isinstance(error, WriteAgain):
                raise SystemExit(f"sink {self.name} begins again: {error}") from error
            raise
        if self._inherits_trouble and len(self._outgoing) and not self._outgoing.delivered_total:
            return
        self._inherits_trouble = False
        held = self._holds.told()
        self._tell("holding" if held else "ok", held, self._outgoing.oldest_ns())

    def _tell(self, state: str, error: str | None, since_ns: int | None) -> None:
        about = {"state": state, "error": error}
        now = time.monotonic()
        if about == self._about and now - self._said_s < SAY_EVERY_S:
            return
        self._said_s, self._about = now, about
        told = {**about, "since_ns": since_ns, "told_ns": time.time_ns()}
        self._say({"about": {**told, "delivered_total": self._outgoing.delivered_total}})
        with contextlib.suppress(OSError):
            write_json(self._folder.about, told, durable=False, mode=0o600)


def _pass_over(run: OpenRun, session: str, item: LogItem) -> None:
    """Leave an item of a run that is held back for its folder, but for what nobody reads there."""
    if isinstance(item, EventBatch):
        run.pass_over(session, item.last)
    elif isinstance(item, SessionNote) and item.note["kind"] == ARTIFACT:
        run.keep_outcome(f"{session}:{item.note['key']}", item.note)
    elif isinstance(item, SessionNote):
        run.heard(session, item.note)


def _events(batch: EventBatch, after: int) -> Iterator[Emitted]:
    """Yield the batch's events numbered above ``after``, in order; of one that is damaged, what decodes."""
    session = batch.session.session.hex()
    try:
        found = list(_decoded(session, batch))
    except FormatError:
        found = []
        for single in batch.singly():
            with contextlib.suppress(FormatError):
                found += _decoded(session, single)
    yield from (event for event in sorted(found, key=lambda e: e.seq) if event.seq > after)


def _decoded(session: str, batch: EventBatch) -> Iterator[Emitted]:
    decoded = batch.decode()
    for block in decoded.blocks:
        columns = zip(
            block.seq.tolist(), block.time_ns.tolist(), block.step.tolist(), block.values.tolist(), strict=True
        )
        for seq, time_ns, step, values in columns:
            data = dict(zip(block.names, values, strict=True))
            yield Emitted(session, seq, time_ns, None if step == -(2**63) else step, "metrics", data)
    for event in decoded.events:
        yield Emitted(session, event.seq, event.time_ns, event.step, event.kind, event.data)


def _letter_event(run: OpenRun, letter: Mapping[str, Any]) -> RunEvent:
    place = (letter["session"], letter["rank"], letter["seq"], letter["time_ns"], letter["step"])
    return RunEvent(run.info, *place, letter["kind"], letter["data"])

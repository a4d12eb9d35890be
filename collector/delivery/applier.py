"""Applies the log to one sink.

The way of an event: :mod:`~neural.tracking.collector.delivery.sequence` decides what is next and
:mod:`~neural.tracking.collector.delivery.translate` turns it into what a sink is given;
:mod:`~neural.tracking.collector.delivery.delivery_queue` keeps it until
:mod:`~neural.tracking.collector.delivery.sink_guard` has written it to the sink.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural.tracking.collector.applier import Applier, Report
from neural.tracking.collector.delivery import dead_letters
from neural.tracking.collector.delivery.attempts import Attempts
from neural.tracking.collector.delivery.delivery_queue import DeliveryQueue, QueueEntry
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.sequence import EventSequence
from neural.tracking.collector.delivery.sink_guard import SinkGuard
from neural.tracking.collector.delivery.sink_health import SinkHealth
from neural.tracking.collector.delivery.sink_runs import SinkRuns
from neural.tracking.collector.delivery.translate import dead_letter_event
from neural.tracking.collector.log.items import LogItem
from neural.tracking.errors import HoldRun, RetryLater
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs, without_copies
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)

MAX_QUEUED = 1000  # entries; a long catch-up from a folder must not fill the memory
FOLDER_RETRY_S = 1.0
REFUSED_RETRY_S = 60.0


class SinkApplier(Applier):
    """Delivers the runs of one sink, from the log and from run folders.

    An errand is a file that asks for one run to be delivered from its folder. ``ntrack sinks replay`` leaves
    one, the visualizer does once the last plots of a run are drawn, and so does a run that is held back.
    """

    def __init__(self, config: SinkConfig, state: State) -> None:
        self.name = config.name
        self._state = state
        self._folder = SinkFolder(state, config.name)
        self._attempts = Attempts(self._folder.trying)
        self._held_runs = HeldRuns(self._folder)
        self._sink_runs = SinkRuns(config, state, self._folder)
        self._guard = SinkGuard(config, state, self._attempts)
        self._queue = DeliveryQueue(self._guard, self._attempts, self._sink_runs, self._held_runs, self._folder)
        self._sequence = EventSequence(self._sink_runs, self._held_runs)
        self._health = SinkHealth(config.name, self._folder.about, self._queue, self._held_runs)
        self._report: Report = lambda line: None
        self._errand_due = False
        self._sweep_due = False  # whether to ask for every run of this sink to be delivered from its folder

    @property
    def flush_every_s(self) -> float:
        """For how long the sink may be written to before it has to make that durable."""
        return self._guard.flush_every_s

    def report_to(self, report: Report) -> None:
        """Take the function that sends a line to the supervisor."""
        self._report = report
        self._health.report_to(report)

    def on_command(self, command: Mapping[str, Any]) -> None:
        """Remember that there is an errand, or dead letters to try once more."""
        self._errand_due = self._errand_due or bool(command.get("errand"))

    def on_log_skipped(self) -> None:
        """Deliver the runs from their folders: whole runs may have been missed."""
        self._sweep_due = True

    def on_run_removed(self, uid: str) -> None:
        """Forget a run that was removed, and what is queued of it."""
        self._sink_runs.forget(uid)
        self._held_runs.release(uid)
        self._errand_due = True  # of a held run there is an errand, which is now to be removed
        self._queue.forget(uid)

    def open(self) -> None:
        """Read what the predecessor left. The backend is opened at the first event for it."""
        try:
            self._folder.make()
            self._attempts.open()
            self._state.collector_id()  # made here where there is none yet
        except OSError as error:
            raise RetryLater(f"cannot use {self._folder.root}: {error}") from error
        self._health.read_previous()
        self._sweep_due = self._sink_runs.is_first_use() or (self._folder.root / "sweep").exists()
        self._errand_due = True

    def write(self, batch: Sequence[LogItem]) -> None:
        """Queue what follows from the items, and deliver full batches. The rest waits for the next tick."""
        with self._health.reported():
            for item in batch:
                self._enqueue(self._sequence.from_log(item))
            self._queue.drain_full()

    def tick(self) -> None:
        """Deliver everything that is queued: about a second after it came."""
        with self._health.reported():
            self._do_errands()
            self._queue.drain()

    def flush(self) -> None:
        """Deliver everything that is queued, make it durable, and save how far each run was delivered."""
        with self._health.reported():
            self._do_errands()
            self._queue.drain()
            self._queue.commit()
            self._sink_runs.drop_ended()

    def close(self) -> None:
        """Close the sink and the record of attempts."""
        self._guard.close()
        self._attempts.close()

    def _enqueue(self, groups: Iterable[list[QueueEntry]]) -> None:
        for group in groups:
            self._queue.extend(group)
            if len(self._queue) >= MAX_QUEUED:
                self._queue.drain_full()

    def _do_errands(self) -> None:
        """Deliver runs from their folders, and dead letters once more, where that was asked for."""
        self._errand_due = self._errand_due or self._held_runs.is_due()
        if not (self._errand_due or self._sweep_due):
            return
        if self._sweep_due:
            self._ask_for_all_runs()
        for file, uid, folder, if_included in self._folder.requested_deliveries():
            if self._held_runs.reason(uid) and not self._held_runs.is_due(uid):
                continue
            self._held_runs.release(uid)
            if not if_included or (folder.is_dir() and self._sink_runs.includes(Run(folder, "skip"))):
                self._deliver_folder(uid, folder)
            if not self._held_runs.reason(uid):
                file.unlink(missing_ok=True)
        self._retry_dead_letters()
        self._errand_due = False
        self._report({"errand": False})

    def _ask_for_all_runs(self) -> None:
        """Leave an errand for every run of this sink."""
        for found in without_copies(list_runs(self._state.base_dir, "skip")):
            if self._sink_runs.includes(found):
                self._folder.request_delivery(found.uid.hex(), found.folder)
        (self._folder.root / "sweep").unlink(missing_ok=True)
        self._sweep_due = False

    def _deliver_folder(self, uid: str, folder: Path) -> None:
        """Deliver what a run's folder holds beyond what was delivered of the run; or hold the run back."""
        found = Run(folder, "skip")  # damaged events are left out; `ntrack verify` names them
        if not folder.is_dir() or found.uid.hex() != uid:
            run = self._sink_runs.behind_log(uid)
            if run is not None:
                self._held_runs.hold(run, HoldRun(uid, f"it is not in {folder} yet", after_s=FOLDER_RETRY_S))
            else:
                logger.error("run %s is not in %s any more", uid[:8], folder)
            return
        run = self._sink_runs.of_folder(found)
        if run.refusal is not None:
            self._held_runs.hold(run, HoldRun(uid, run.refusal, after_s=REFUSED_RETRY_S))
            return
        self._enqueue(self._sequence.from_folder(run, found))
        self._queue.drain()
        if not self._held_runs.reason(uid) and not run.clear_passed_over():
            self._held_runs.hold(run, HoldRun(uid, "its folder is still being written", after_s=FOLDER_RETRY_S))
        self._queue.commit()

    def _retry_dead_letters(self) -> None:
        """Deliver the dead letters once more that ``ntrack sinks dead-letters retry`` has put into files."""
        for path in sorted(self._folder.root.glob("retry-*.jsonl")):
            for letter in dead_letters.read(path):
                run = self._sink_runs.of_dead_letter(letter)
                self._queue.append_dead_letter(run, dead_letter_event(run.info, letter))
            self._queue.drain()
            self._queue.commit()
            path.unlink(missing_ok=True)

"""The queue of events that were taken and not delivered yet. The sink is given them in order and in batches.

Four steps follow each other. An entry is appended. The guard writes its event to the sink; then the entry
leaves the queue. Events that the sink refused go to the dead letters. A commit flushes the sink and then saves
how far each run was delivered. A crash before the commit repeats everything since the last one.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from neural.tracking.collector.delivery import dead_letters
from neural.tracking.collector.delivery.attempts import Attempts, Suspect
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.run_progress import RunProgress
from neural.tracking.collector.delivery.sink_guard import SinkGuard
from neural.tracking.collector.delivery.sink_runs import SinkRuns
from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.sinks.base import RunEvent

logger = logging.getLogger(__name__)


class QueuedEvent(NamedTuple):
    """An event that the sink is to be given."""

    run: RunProgress
    event: RunEvent


class Watermark(NamedTuple):
    """Says that no event of the session up to ``last`` comes after it in the queue."""

    run: RunProgress
    session: str
    last: int


QueueEntry = QueuedEvent | Watermark


class DeliveryQueue:
    """Delivers from the front. An entry leaves the queue once its event was written or is a dead letter."""

    def __init__(
        self, guard: SinkGuard, attempts: Attempts, runs: SinkRuns, held_runs: HeldRuns, folder: SinkFolder
    ) -> None:
        self.delivered_total = 0
        self._guard = guard
        self._attempts = attempts
        self._runs = runs
        self._held_runs = held_runs
        self._folder = folder
        self._entries: deque[QueueEntry] = deque()
        self._singly: set[tuple[str, int]] = set()  # events of a refused batch: each is written on its own
        self._letters: set[tuple[str, int, int]] = set()  # queued events that are dead letters until delivered
        self._refused: deque[tuple[RunEvent, str]] = deque()  # to become dead letters before the next commit
        self._committed_s = time.monotonic()
        self._uncommitted_ns: int | None = None  # when the first event since the last commit was logged

    def __len__(self) -> int:
        return len(self._entries)

    def extend(self, group: Sequence[QueueEntry]) -> None:
        """Append entries of one run, unless the run is held back: then they will be taken again."""
        if group and self._held_runs.reason(group[0].run.info.uid) is None:
            self._entries.extend(group)

    def append_dead_letter(self, run: RunProgress, event: RunEvent) -> None:
        """Append a dead letter that is to be written once more, alone; nothing if it is queued already."""
        reason = self._held_runs.reason(run.info.uid)
        if reason is not None:
            self._to_dead_letters(event, reason)
        elif _identity(event) not in self._letters:
            self._singly.add((event.session, event.seq))
            self._letters.add(_identity(event))
            self._entries.append(QueuedEvent(run, event))

    def forget(self, uid: str) -> None:
        """Drop the entries of a run."""
        for entry in self._entries:
            if entry.run.info.uid == uid and isinstance(entry, QueuedEvent):
                self._letters.discard(_identity(entry.event))
        self._entries = deque(entry for entry in self._entries if entry.run.info.uid != uid)

    def oldest_ns(self) -> int | None:
        """Return when the first event was logged that is not durable in the backend; None where all are."""
        if self._uncommitted_ns is not None:
            return self._uncommitted_ns
        return next((entry.event.time_ns for entry in self._entries if isinstance(entry, QueuedEvent)), None)

    def drain_full(self) -> None:
        """Deliver whole batches and leave the rest; raises as :meth:`drain`."""
        self.drain(self._guard.batch_events if self._entries else 1)

    def drain(self, least: int = 0) -> None:
        """Deliver from the front while at least ``least`` entries are queued.

        Raises:
            RetryLater: the sink does not take the events now. Those that are not delivered stay in the queue.
            SystemExit: the sink's code failed in a way that only a new process mends.
        """
        while self._entries and len(self._entries) >= least:
            first = self._entries[0]
            if isinstance(first, Watermark):
                self._entries.popleft()
                first.run.mark_delivered(first.session, first.last)
                continue
            try:
                if self._attempts.is_suspect(first.event.session, first.event.seq):
                    self._deliver_suspect(first.event)
                else:
                    self._deliver_batch(self._next_batch(self._guard.batch_events))
            except HoldRun as error:
                self._hold_run(error)
            if time.monotonic() - self._committed_s > self._guard.flush_every_s:
                self.commit()

    def commit(self) -> None:
        """Make durable what was delivered, then save how far that is; raises RetryLater."""
        if self._runs.dirty():
            self._flush()
            try:
                self._runs.save()
            except OSError as error:
                raise RetryLater(f"cannot write to {self._folder.runs}: {error}") from error
        self._attempts.flushed()
        self._committed_s, self._uncommitted_ns = time.monotonic(), None

    def _next_batch(self, limit: int) -> list[RunEvent]:
        """Return the next events that may be written together."""
        batch: list[RunEvent] = []
        for entry in self._entries:
            if isinstance(entry, Watermark):
                continue
            event = entry.event
            alone = (event.session, event.seq) in self._singly
            if self._attempts.is_suspect(event.session, event.seq) or (batch and alone):
                break
            batch.append(event)
            if alone or len(batch) >= limit:
                break
        return batch

    def _deliver_batch(self, batch: list[RunEvent]) -> None:
        self._attempts.begin(_spans(batch))
        try:
            self._guard.write(batch)
        except RefusedForGood as error:
            if error.refusals:
                self._refused.extend(error.refusals)
            elif len(batch) > 1:
                logger.warning("%s refused %d events; each is tried on its own", self._folder.name, len(batch))
                self._singly |= {(event.session, event.seq) for event in batch}
                return
            else:
                self._refused.append((batch[0], str(error)))
        self._mark_delivered(len(batch))
        self._save_refused()

    def _deliver_suspect(self, event: RunEvent) -> None:
        """Write one event of a batch over which the worker died too often: alone, then flush."""
        suspect = Suspect(event.session, event.seq)
        if self._attempts.is_fatal(suspect):
            self._to_dead_letters(event, self._attempts.last_error)
        else:
            self._attempts.begin_single(suspect)
            try:
                self._guard.write([event])
            except RefusedForGood as error:
                self._refused.append((event, str(error)))
            self._flush()
        self._attempts.mark_done(suspect)
        self._mark_delivered(1)
        self.commit()

    def _hold_run(self, error: HoldRun) -> None:
        """Drop the entries of a run that the backend does not take; its dead letters stay dead letters."""
        of_run = [entry for entry in self._entries if entry.run.info.uid == error.uid]
        if not of_run:  # against the contract of sinks; another try at once would change nothing
            raise RetryLater(str(error)) from error
        self._held_runs.hold(of_run[0].run, error)
        reason = self._held_runs.reason(error.uid) or str(error)
        logger.error("%s: %s", self._folder.name, reason)
        for entry in of_run:
            if isinstance(entry, QueuedEvent) and _identity(entry.event) in self._letters:
                self._refused.append((entry.event, reason))
        self.forget(error.uid)
        self._save_refused()

    def _mark_delivered(self, count: int) -> None:
        """Remove so many delivered events from the front, with the watermarks between and after them."""
        while count or (self._entries and isinstance(self._entries[0], Watermark)):
            entry = self._entries.popleft()
            if isinstance(entry, Watermark):
                entry.run.mark_delivered(entry.session, entry.last)
                continue
            count -= 1
            event = entry.event
            self._uncommitted_ns = self._uncommitted_ns or event.time_ns
            entry.run.mark_event_delivered(event)
            self._singly.discard((event.session, event.seq))
            self._letters.discard(_identity(event))
            self.delivered_total += 1

    def _flush(self) -> None:
        self._save_refused()
        try:
            self._guard.flush()
        except RefusedForGood as error:  # it names events: the guard passes no other
            self._refused.extend(error.refusals)
        self._save_refused()

    def _save_refused(self) -> None:
        """Write the refused events to the dead letters; raises RetryLater."""
        while self._refused:
            self._to_dead_letters(*self._refused[0])
            self._refused.popleft()

    def _to_dead_letters(self, event: RunEvent, error: str) -> None:
        logger.error(
            "%s: event %d of run %s was set aside: %s", self._folder.name, event.seq, event.run.id, error[-500:]
        )
        try:
            dead_letters.append(self._folder.dead_letters, event, error)
        except OSError as problem:
            raise RetryLater(f"cannot write {self._folder.dead_letters}: {problem}") from problem


def _identity(event: RunEvent) -> tuple[str, int, int]:
    return event.session, event.seq, event.time_ns


def _spans(events: Sequence[RunEvent]) -> dict[str, tuple[int, int]]:
    """Return the first and last number of each session's events."""
    spans: dict[str, tuple[int, int]] = {}
    for event in events:
        first, last = spans.get(event.session, (event.seq, event.seq))
        spans[event.session] = (min(first, event.seq), max(last, event.seq))
    return spans

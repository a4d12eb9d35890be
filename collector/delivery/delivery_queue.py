"""What was taken and not delivered yet: handed to the sink in order, in batches, alone where it must be."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from neural.tracking.collector.delivery import dead_letters
from neural.tracking.collector.delivery.attempts import Attempts, Suspect
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.run_progress import OpenRun, RunProgress
from neural.tracking.collector.delivery.sink_guard import SinkGuard
from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.sinks.base import RunEvent

logger = logging.getLogger(__name__)


class Upto(NamedTuple):
    """Stands among the pending events where everything of the session up to ``last`` was taken."""

    run: OpenRun
    session: str
    last: int


class DeliveryQueue:
    """The queue between taking and the sink; what is delivered is gone from its front."""

    def __init__(
        self, border: SinkGuard, trying: Attempts, runs: RunProgress, holds: HeldRuns, folder: SinkFolder
    ) -> None:
        self.delivered_total = 0
        self._border = border
        self._trying = trying
        self._runs = runs
        self._holds = holds
        self._folder = folder
        self._pending: deque[tuple[OpenRun, RunEvent] | Upto] = deque()
        self._refused: set[tuple[str, int]] = set()  # of a refused batch: each goes on its own
        self._letters: set[tuple[str, int, int]] = set()  # pending events that are dead letters until delivered
        self._turned_down: deque[tuple[RunEvent, str]] = deque()  # to be set aside before anything is saved
        self._settled_s = time.monotonic()
        self._unsettled_ns: int | None = None  # when the first event since then was logged

    def __len__(self) -> int:
        return len(self._pending)

    def append(self, run: OpenRun, event: RunEvent) -> None:
        """Queue an event, unless its run is held back: then it will be taken again."""
        if self._holds.reason(run.info.uid) is None:
            self._pending.append((run, event))

    def append_alone(self, run: OpenRun, event: RunEvent) -> None:
        """Queue a dead letter: it may be refused again."""
        reason = self._holds.reason(run.info.uid)
        if reason is not None:
            self._set_aside(event, reason)
            return
        self._refused.add((event.session, event.seq))
        self._letters.add(_identity(event))
        self._pending.append((run, event))

    def upto(self, run: OpenRun, session: str, last: int) -> None:
        """Queue that everything of the session up to ``last`` stands before here."""
        if self._holds.reason(run.info.uid) is None:
            self._pending.append(Upto(run, session, last))

    def forget(self, uid: str) -> None:
        """Drop what is queued of a run."""
        self._pending = deque(entry for entry in self._pending if entry[0].info.uid != uid)

    def oldest_ns(self) -> int | None:
        """Return when the first event was logged that is not with the backend for good."""
        if self._unsettled_ns is not None:
            return self._unsettled_ns
        return next((entry[1].time_ns for entry in self._pending if not isinstance(entry, Upto)), None)

    def drain_full(self) -> None:
        """Deliver what fills whole batches."""
        self.drain(self._border.batch_events if self._pending else 1)

    def drain(self, least: int = 0) -> None:
        """Deliver from the front while at least ``least`` are queued."""
        while self._pending and len(self._pending) >= least:
            first = self._pending[0]
            if isinstance(first, Upto):
                self._pending.popleft()
                first.run.delivered(first.session, first.last)
                continue
            try:
                if self._trying.is_suspect(first[1].session, first[1].seq):
                    self._deliver_suspect(*first)
                else:
                    self._deliver_group(self._group(self._border.batch_events))
            except HoldRun as error:
                self._hold(error)
            if time.monotonic() - self._settled_s > self._border.flush_every_s:
                self.settle()

    def _group(self, limit: int) -> list[RunEvent]:
        """Return the next events that may be delivered together."""
        group: list[RunEvent] = []
        for entry in self._pending:
            if isinstance(entry, Upto):
                continue
            event = entry[1]
            alone = (event.session, event.seq) in self._refused
            if self._trying.is_suspect(event.session, event.seq) or (group and alone):
                break
            group.append(event)
            if alone or len(group) >= limit:
                break
        return group

    def _deliver_group(self, group: list[RunEvent]) -> None:
        self._trying.begin(_spans(group))
        try:
            self._border.write(group)
        except RefusedForGood as error:
            if error.refusals:
                self._turned_down.extend(error.refusals)
            elif len(group) > 1:
                logger.warning("%s refused %d events; each is tried on its own", self._folder.name, len(group))
                self._refused |= {(event.session, event.seq) for event in group}
                return
            else:
                self._turned_down.append((group[0], str(error)))
        self._done(len(group))
        self._bury()

    def _deliver_suspect(self, run: OpenRun, event: RunEvent) -> None:
        """Deliver one event of a batch that was fatal, on its own and to the end."""
        suspect = Suspect(event.session, event.seq)
        if self._trying.is_fatal(suspect):
            self._set_aside(event, self._trying.last_error)
        else:
            self._trying.begin_single(suspect)
            try:
                self._border.write([event])
            except RefusedForGood as error:
                self._turned_down.append((event, str(error)))
            self._flush()
        self._trying.passed(suspect)
        self._done(1)
        self.settle()

    def _hold(self, error: HoldRun) -> None:
        """Let a run's events go for now, and its dead letters be such again."""
        mine = [entry for entry in self._pending if entry[0].info.uid == error.uid]
        if not mine:  # against the contract: nothing would change by trying at once
            raise RetryLater(str(error)) from error
        self._holds.hold(mine[0][0], error)
        reason = self._holds.reason(error.uid) or str(error)
        logger.error("%s: %s", self._folder.name, reason)
        for entry in mine:
            if not isinstance(entry, Upto) and _identity(entry[1]) in self._letters:
                self._turned_down.append((entry[1], reason))
        self.forget(error.uid)
        self._bury()

    def _bury(self) -> None:
        """Set aside what was turned down; raises RetryLater."""
        while self._turned_down:
            self._set_aside(*self._turned_down[0])
            self._turned_down.popleft()

    def _set_aside(self, event: RunEvent, error: str) -> None:
        logger.error(
            "%s: event %d of run %s was set aside: %s", self._folder.name, event.seq, event.run.id, error[-500:]
        )
        try:
            dead_letters.append(self._folder.dead_letters, event, error)
        except OSError as problem:
            raise RetryLater(f"cannot write {self._folder.dead_letters}: {problem}") from problem

    def _done(self, count: int) -> None:
        """Drop so many delivered events from the front, with the marks between them."""
        while count or (self._pending and isinstance(self._pending[0], Upto)):
            entry = self._pending.popleft()
            if isinstance(entry, Upto):
                entry.run.delivered(entry.session, entry.last)
                continue
            count -= 1
            run, event = entry
            self._unsettled_ns = self._unsettled_ns or event.time_ns
            run.delivered(event.session, event.seq, event)
            self._refused.discard((event.session, event.seq))
            self._letters.discard(_identity(event))
            self.delivered_total += 1

    def _flush(self) -> None:
        self._bury()
        try:
            self._border.flush()
        except RefusedForGood as error:  # it names events: the border lets no other pass
            self._turned_down.extend(error.refusals)
        self._bury()

    def settle(self) -> None:
        """Make durable what was delivered, then how far that is."""
        if self._runs.dirty():
            self._flush()
            try:
                self._runs.save()
            except OSError as error:
                raise RetryLater(f"cannot write to {self._folder.runs}: {error}") from error
        self._trying.flushed()
        self._settled_s, self._unsettled_ns = time.monotonic(), None


def _identity(event: RunEvent) -> tuple[str, int, int]:
    return event.session, event.seq, event.time_ns


def _spans(events: Sequence[RunEvent]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for event in events:
        first, last = spans.get(event.session, (event.seq, event.seq))
        spans[event.session] = (min(first, event.seq), max(last, event.seq))
    return spans

"""Decides what is the next event of each run, so that a sink is given every event once and in order.

Order and completeness come from the numbers of the events, not from positions in the log: a session's next
event is the one after the last that was taken. What the log no longer has in between is read from the run's
folder first. That happens where the sink is new, was disabled, or fell so far behind that the log did not wait
for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from neural.tracking.collector.delivery import translate
from neural.tracking.collector.delivery.delivery_queue import QueuedEvent, QueueEntry, Watermark
from neural.tracking.collector.delivery.held_runs import HeldRuns
from neural.tracking.collector.delivery.run_progress import RunProgress
from neural.tracking.collector.delivery.sink_runs import SinkRuns
from neural.tracking.collector.log.items import EventBatch, LogItem, SessionNote
from neural.tracking.errors import RetryLater
from neural.tracking.figures.saving import AUTOMATIC, FOLDER
from neural.tracking.formats.artifact_event import KIND as ARTIFACT
from neural.tracking.reader.event_replay import Emitted, durable_numbers, emitted
from neural.tracking.reader.run import Run


class EventSequence:
    """Yields what goes into the queue, in groups.

    All entries of a group are of one run. A group goes into the queue as a whole: its numbers count as taken
    when it is yielded. Between two groups the queue may deliver, and so the run may be held back in the middle
    of a sequence; the sequence then stops.
    """

    def __init__(self, runs: SinkRuns, held_runs: HeldRuns) -> None:
        self._runs = runs
        self._held_runs = held_runs

    def from_log(self, item: LogItem) -> Iterator[list[QueueEntry]]:
        """Yield what follows from one item of the log, after what the log no longer has before it.

        Raises:
            RetryLater: the run's folder cannot be read now.
        """
        run = self._runs.of_session(item.session)
        if run is None:
            return
        session = item.session.session.hex()
        if isinstance(item, EventBatch):
            yield from self._from_batch(run, session, item)
        elif isinstance(item, SessionNote):
            yield self._from_note(run, session, item.note)

    def from_folder(self, run: RunProgress, found: Run) -> Iterator[list[QueueEntry]]:
        """Yield what the run's folder holds and was not taken yet: events, artifacts, status and plots.

        Raises:
            RetryLater: the folder cannot be read now.
        """
        durable = durable_numbers(found.folder) or {name: found.last_seq(name) for name in found.facts.sessions}
        for session, facts in found.facts.sessions.items():
            run.status.describe(session, facts)
        yield from self._catch_up(run, durable)
        if self._is_held(run):
            return
        yield self._stored_artifacts(run, found)
        for session, facts in found.facts.sessions.items():
            run.status.update_from_folder(session, facts)
        yield self._status_change(run)
        yield self._new_plots(run)

    def _from_batch(self, run: RunProgress, session: str, batch: EventBatch) -> Iterator[list[QueueEntry]]:
        if not self._must_wait(run) and batch.first > run.last_taken(session) + 1:
            yield from self._catch_up(run, {session: batch.first - 1})
        if self._must_wait(run):  # it may be held back since the catch-up
            run.pass_over(session, batch.last)
            return
        if batch.last <= run.last_taken(session):
            return
        group: list[QueueEntry] = []
        for event in translate.log_events(batch, run.last_taken(session)):
            self._take(run, event, group)
        run.mark_taken(session, batch.last)
        group.append(Watermark(run, session, batch.last))
        yield group

    def _from_note(self, run: RunProgress, session: str, note: Mapping[str, Any]) -> list[QueueEntry]:
        if note["kind"] != ARTIFACT:
            run.status.update_from_note(session, note)
            return [] if self._must_wait(run) else self._status_change(run)
        if self._must_wait(run):
            run.keep_outcome(f"{session}:{note['key']}", note)
            return []
        return self._stored_artifact(run, session, note["key"], note)

    def _is_held(self, run: RunProgress) -> bool:
        return self._held_runs.reason(run.info.uid) is not None

    def _must_wait(self, run: RunProgress) -> bool:
        """Return whether the run is held back, or was and its folder is still behind the log."""
        return self._is_held(run) or run.is_behind_log()

    def _take(self, run: RunProgress, event: Emitted, group: list[QueueEntry]) -> None:
        """Add to the group what follows from a session's next event."""
        run.mark_taken(event.session, event.seq)
        if event.kind == ARTIFACT:
            run.keep_artifact_call(event)
            return
        group.append(QueuedEvent(run, translate.run_event(run.info, run.rank(event.session), event)))
        if run.status.update_from_event(event):
            group += self._status_change(run)

    def _catch_up(self, run: RunProgress, upto: Mapping[str, int]) -> Iterator[list[QueueEntry]]:
        """Yield events from the run's folder, up to these numbers or to what is durable there."""
        folder = run.info.folder
        if not folder.is_dir():
            return
        try:
            durable = durable_numbers(folder)
            goal = {session: min(last, durable.get(session, 0)) for session, last in upto.items()}
            after = {session: run.last_taken(session) for session in goal}
            for event in emitted(folder, after, goal):
                group: list[QueueEntry] = []
                self._take(run, event, group)
                yield group
                if self._is_held(run):
                    return
        except OSError as error:
            raise RetryLater(f"cannot read {folder}: {error}") from error
        for session, last in goal.items():
            if last > run.last_taken(session):
                run.mark_taken(session, last)
        yield [Watermark(run, session, run.last_taken(session)) for session in goal]

    def _status_change(self, run: RunProgress) -> list[QueueEntry]:
        change = run.status.next_change()
        if change is None:
            return []
        return [QueuedEvent(run, translate.status_event(run.info, change, change.ended_ns or time.time_ns()))]

    def _stored_artifact(
        self, run: RunProgress, session: str, seq: str, outcome: Mapping[str, Any]
    ) -> list[QueueEntry]:
        call = run.take_artifact(session, seq, outcome)
        if call is None:
            return []
        return [QueuedEvent(run, translate.artifact_event(run.info, run.rank(session), call, outcome))]

    def _stored_artifacts(self, run: RunProgress, found: Run) -> list[QueueEntry]:
        """Return the artifacts whose outcome is in the folder, or came from the log while the run waited."""
        group: list[QueueEntry] = []
        for entry in found.facts.artifacts.entries:
            if entry.outcome is not None:
                group += self._stored_artifact(run, entry.session, str(entry.seq), entry.outcome)
        for key, outcome in run.share.outcomes.items():
            session, seq = key.split(":")
            group += self._stored_artifact(run, session, seq, outcome)
        return group

    def _new_plots(self, run: RunProgress) -> list[QueueEntry]:
        """Return the automatic plots of an ended run that were not delivered as they are now."""
        group: list[QueueEntry] = []
        if not run.status.ended:
            return group
        folder = run.info.folder / FOLDER
        try:
            for number, path in enumerate(sorted(folder.glob(f"{AUTOMATIC}*.png")), 1):
                content = path.read_bytes()
                checksum = hashlib.sha256(content).hexdigest()
                if run.take_plot(path.name, checksum):
                    now_ns = time.time_ns()
                    event = translate.plot_event(run.info, number, path, checksum, len(content), now_ns)
                    group.append(QueuedEvent(run, event))
        except OSError as error:
            raise RetryLater(f"cannot read the plots of {run.info.folder}: {error}") from error
        return group

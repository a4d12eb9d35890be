"""How far one run has come on its way to the sink, as numbers.

Each session has three of them. Up to ``share.last`` its events are with the backend. Up to ``last_taken`` they
were put into the queue. Up to ``share.passed_over`` the log has gone on while the run was held back; the run's
folder brings these events later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neural.tracking.collector.delivery.run_status import RunStatus
from neural.tracking.reader.event_replay import Emitted
from neural.tracking.sink_state.progress import Share
from neural.tracking.sinks.base import RunEvent, RunInfo
from neural.tracking.state.tombstones import Tombstone


class RunProgress:
    """One run: its share as it is on disk, and how far beyond that its events were taken."""

    def __init__(self, info: RunInfo, share: Share) -> None:
        self.info = info
        self.share = share
        self.status = RunStatus(share)
        self.refusal: str | None = None  # why the run must not be delivered as it is
        self.tombstone: Tombstone | None = None  # of a run with the same uid that was removed before this one
        self.dirty = False  # whether the share differs from its file
        self._taken: dict[str, int] = {}
        self._queued_outcomes: dict[str, Mapping[str, Any]] = {}  # of artifacts whose events are in the queue
        self._queued_plots: dict[str, str] = {}  # file name to checksum, as in share.pictures

    def rank(self, session: str) -> int:
        """Return the session's rank, 0 where it did not say."""
        return self.share.share_of(session).facts.rank

    def last_taken(self, session: str) -> int:
        """Return up to which number the session was taken, delivered or not yet."""
        return max(self._taken.get(session, 0), self.share.last(session))

    def mark_taken(self, session: str, last: int) -> None:
        """Note that everything up to ``last`` was taken."""
        self._taken[session] = max(last, self.last_taken(session))

    def mark_delivered(self, session: str, last: int) -> None:
        """Note that everything up to ``last`` is with the sink, or is a dead letter."""
        self.dirty = True
        session_share = self.share.share_of(session)
        session_share.last = max(session_share.last, last)

    def mark_event_delivered(self, event: RunEvent) -> None:
        """Note that this event is with the sink, or is a dead letter."""
        self.dirty = True
        self.share.events_total += 1
        if event.kind == "artifact" and "picture" in event.data:  # an automatic plot, numbered below zero
            self.share.pictures[event.data["name"]] = event.data["picture"]
            self._queued_plots.pop(event.data["name"], None)
            return
        if event.kind == "status":
            self.share.status, self.share.ended = event.data["status"], event.data["ended"]
            return
        if event.kind == "artifact":
            self.share.artifacts.pop(f"{event.session}:{event.seq}", None)
            self._queued_outcomes.pop(f"{event.session}:{event.seq}", None)
        self.mark_delivered(event.session, event.seq)

    def reset_to_delivered(self) -> None:
        """Forget what was taken and not delivered: it will be taken again."""
        self._taken.clear()
        self._queued_outcomes.clear()
        self._queued_plots.clear()
        self.status.reset()

    # A run that is held back

    def pass_over(self, session: str, last: int) -> None:
        """Note that the log went on to ``last`` without this run; its folder brings what is missing."""
        if last > self.share.passed_over.get(session, 0):
            self.share.passed_over[session] = last
            self.dirty = True

    def pass_over_undelivered(self) -> None:
        """Pass over everything that was taken and not delivered."""
        for session, last in self._taken.items():
            self.pass_over(session, last)
        for key, outcome in self._queued_outcomes.items():
            self.keep_outcome(key, outcome)
        self.reset_to_delivered()

    def is_behind_log(self) -> bool:
        """Return whether the run's folder still has to bring what was passed over."""
        return self._misses_events() or bool(self.share.outcomes)

    def clear_passed_over(self) -> bool:
        """Forget what was passed over if all of it was taken; return whether it was."""
        if self._misses_events():
            return False
        self.dirty = self.dirty or bool(self.share.passed_over or self.share.outcomes)
        self.share.passed_over, self.share.outcomes = {}, {}
        return True

    def _misses_events(self) -> bool:
        return any(self.last_taken(session) < last for session, last in self.share.passed_over.items())

    # Artifacts: the log has the call first, and the outcome once the bytes are stored

    def keep_artifact_call(self, event: Emitted) -> None:
        """Keep an artifact's call until its outcome is known; before that there is nothing to deliver."""
        call = {"session": event.session, "seq": event.seq, "time_ns": event.time_ns, "step": event.step}
        self.share.artifacts[f"{event.session}:{event.seq}"] = {**call, "call": event.data}
        self.dirty = True

    def keep_outcome(self, key: str, outcome: Mapping[str, Any]) -> None:
        """Keep an artifact's outcome; ``key``: session and number of the call, which may be passed over."""
        self.share.outcomes[key] = dict(outcome)
        self.dirty = True

    def take_artifact(self, session: str, seq: str, outcome: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the kept call of an artifact that is to be delivered now that its outcome is known.

        None where the artifact is lost, was delivered, or is in the queue.
        """
        key = f"{session}:{seq}"
        call = self.share.artifacts.get(key)
        if call is None or key in self._queued_outcomes:
            return None
        if outcome.get("lost") is not None:
            del self.share.artifacts[key]
            return None
        self._queued_outcomes[key] = outcome
        return call

    def take_plot(self, name: str, checksum: str) -> bool:
        """Return whether a plot with this content is to be delivered: neither delivered nor queued yet."""
        if checksum in (self._queued_plots.get(name), self.share.pictures.get(name)):
            return False
        self._queued_plots[name] = checksum
        return True

"""Follows the status of one run, from its events, the collector's notes and the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from neural.tracking.reader.event_replay import Emitted
from neural.tracking.reader.facts import SessionFacts, fold_note
from neural.tracking.sink_state.progress import Share

_DESCRIPTION = ("rank", "attempt", "role", "opened_ns")


class StatusChange(NamedTuple):
    """A status that the sink was not told yet. ``ended``: whether all processes of the run have ended."""

    status: str
    error: str | None
    ended: bool
    ended_ns: int | None


class RunStatus:
    """Keeps the facts about a run's sessions in the run's share, and says when the status changed."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._queued = (share.status, share.ended)  # what was last returned, delivered or not

    @property
    def ended(self) -> bool:
        """Whether the run has a status and every known session has ended."""
        return self._share.decided()[3]

    def describe(self, session: str, description: SessionFacts | Mapping[str, Any]) -> None:
        """Keep the rank, attempt, role and opening time of a session; values of a wrong type are ignored."""
        facts = self._share.share_of(session).facts
        for name in _DESCRIPTION:
            value = description.get(name) if isinstance(description, Mapping) else getattr(description, name)
            if isinstance(value, type(getattr(facts, name))):
                setattr(facts, name, value)

    def update_from_event(self, event: Emitted) -> bool:
        """Take an event into account; return whether it bears on the run's status."""
        facts = self._share.share_of(event.session).facts
        if event.kind == "open":
            self.describe(event.session, {**event.data, "opened_ns": event.data.get("started_ns")})
            facts.status = facts.error = facts.ended_ns = None
            return True
        if event.kind == "end":
            facts.status = str(event.data.get("status") or "completed")
            facts.error, facts.ended_ns = event.data.get("error"), event.time_ns
            return True
        return False

    def update_from_note(self, session: str, note: Mapping[str, Any]) -> None:
        """Take a note of the collector into account, such as the death of a process."""
        facts = self._share.share_of(session).facts
        data = {key: value for key, value in note.items() if key not in ("kind", "key", "time_ns")}
        fold_note(facts, {"note": note["kind"], "time_ns": int(note.get("time_ns", 0)), "data": data})

    def update_from_folder(self, session: str, stored: SessionFacts) -> None:
        """Take from the run's folder how a session ended. The folder may know less than the log has told."""
        facts = self._share.share_of(session).facts
        if stored.ended_ns is None and facts.ended_ns is not None:
            return
        facts.status, facts.error, facts.ended_ns = stored.status, stored.error, stored.ended_ns

    def next_change(self) -> StatusChange | None:
        """Return the run's status if it differs from the one that was last returned, else None."""
        status, error, ended_ns, ended = self._share.decided()
        if (status, ended) == self._queued:
            return None
        self._queued = (status, ended)
        return StatusChange(status, error, ended, ended_ns)

    def reset(self) -> None:
        """Forget what was returned and not delivered: it will be returned again."""
        self._queued = (self._share.status, self._share.ended)

"""The state of a session that others read: the tracker, the routes, and people. No property blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.agent import collector_target
from neural.tracking.formats import events
from neural.tracking.state.tombstones import RUN_DELETED

if TYPE_CHECKING:
    from neural.tracking.agent.emit.emitter import Emitter
    from neural.tracking.agent.run_identity import RunIdentity
    from neural.tracking.agent.send.delivery_state import DeliveryState
    from neural.tracking.core.config import AgentConfig
    from neural.tracking.formats.event_stream import Decoded
    from neural.tracking.state.paths import State


class SessionView:
    """The reading half of :class:`~neural.tracking.agent.session.Session`."""

    id: bytes
    run: RunIdentity
    config: AgentConfig
    state_folder: State
    _emitter: Emitter
    _delivery: DeliveryState
    _closed: bool

    @property
    def uid(self) -> bytes:
        """The run's uid."""
        return self.run.uid

    @property
    def outboxes(self) -> Path:
        """The folder that holds this session's outbox."""
        return collector_target.outboxes(self.config, self.state_folder)

    @property
    def spool(self) -> Path:
        """The folder in which its snapshots of artifacts wait."""
        return collector_target.spool(self.config, self.state_folder)

    @property
    def rank(self) -> int:
        """This process's rank; children share their parent's."""
        return self.run.rank

    @property
    def emitted(self) -> int:
        """The number of the last event, kept or dropped."""
        return self._emitter.emitted

    @property
    def acknowledged(self) -> int:
        """The number up to which the collector has all events on its disk; 0 if none."""
        stream = self._delivery.stream
        return stream.acknowledged if stream is not None else 0

    @property
    def gaps(self) -> list[tuple[int, int, str]]:
        """The numbers of events that will not arrive, as far as this process knows: (first, last, reason)."""
        if self._delivery.deleted:
            return [(1, self.emitted, RUN_DELETED)]
        return [*self._emitter.gaps, *self._delivery.lost]

    @property
    def next_step(self) -> int:
        """The step of the next metrics call without a step."""
        return self._emitter.next_step

    @next_step.setter
    def next_step(self, step: int) -> None:
        self._emitter.next_step = step

    @property
    def state(self) -> str:
        """The state of delivery as a text for people: connected, connecting, refused and why, closed."""
        if self._closed:
            return "closed"
        if self._delivery.status == "connecting" and self._delivery.problem:
            return f"not connected: {self._delivery.problem}"
        return self._delivery.status

    def unacknowledged(self) -> Iterator[Decoded]:
        """Yield, in order, the events that the collector has not acknowledged, and perhaps a few that it has.

        Yields nothing once the session is closed. May be called from any thread; blocks briefly on a lock.
        """
        stream = self._delivery.stream
        if stream is None or self._closed:
            return
        from neural.tracking.formats import event_stream  # brings NumPy

        for piece in stream.copies():
            records = b"".join(list(self._emitter.schemas.records))
            yield event_stream.decode(memoryview(piece), events.unpack_schemas(self.id, records))

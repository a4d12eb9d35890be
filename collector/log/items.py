"""The items that readers of the log get: batches of events, notes, and marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from neural.tracking.formats import event_stream, events, segment
from neural.tracking.formats.event_stream import Decoded


@dataclass(eq=False)
class LoggedSession:
    """A session as the log describes it; ``schemas`` grows as the log is read.

    ``info`` is the map that the session's HELLO sent: name, dir, rank, world_size, attempt, role and more.
    """

    session: bytes
    uid: bytes
    info: Mapping[str, Any]
    schemas: dict[int, tuple[str, ...]] = field(default_factory=dict)
    schema_records: dict[int, bytes] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The session's rank; 0 if the session did not send it. Never blocks."""
        rank = self.info.get("rank")
        return rank if isinstance(rank, int) else 0


@dataclass(frozen=True)
class EventBatch:
    """Consecutive events ``first..last`` of one session; ``payload`` is valid during ``write`` only.

    ``base`` is the position of the payload in the session's stream, in bytes.
    """

    session: LoggedSession
    first: int
    last: int
    base: int
    payload: memoryview

    def decode(self) -> Decoded:
        """Return the events and gaps in the batch. Never blocks.

        Raises:
            FormatError: a schema that the batch uses was lost to damage in the log.
        """
        return event_stream.decode(self.payload, self.session.schemas)

    def singly(self) -> Iterator[EventBatch]:
        """Yield the batch as one batch for each record: then a record that does not decode costs no other.

        The session learns the schemas among the records. Never blocks.
        """
        for record in segment.scan(self.payload, self.session.session, base=self.base):
            if not isinstance(record, segment.Record):
                continue
            whole = self.payload[record.pos : record.end]
            if record.kind == segment.SCHEMA:
                self.session.schemas.setdefault(record.id, events.unpack_names(record.body))
                self.session.schema_records.setdefault(record.id, bytes(whole))
                continue
            first, last = events.numbers(record)
            if first is not None and last is not None:
                yield EventBatch(self.session, first, last, self.base + record.pos, whole)


@dataclass(frozen=True)
class SessionNote:
    """A fact about a session that the session did not emit: a gap, the orderly end, a death.

    The store keeps one note for each (session, kind, key).
    """

    session: LoggedSession
    note: Mapping[str, Any]


@dataclass(frozen=True)
class SessionMark:
    """The log has held everything of the session up to ``last``; ``ended`` is its total, if that is known."""

    session: LoggedSession
    last: int
    ended: int | None


LogItem = EventBatch | SessionNote | SessionMark

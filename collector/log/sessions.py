"""What the collector knows of each session: high-water marks, schemas, and where its batches lie.

Two marks a session: ``received`` (taken into the log's queue) decides what is stored, ``durable``
(on disk) is the only one a sender is ever told. Everything here runs on the event loop.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from neural.tracking.formats.wire import VIA as VIA

WINDOW_BYTES = 8 << 20
ALL_WINDOWS_BYTES = 64 << 20
LEAST_WINDOW_BYTES = 64 << 10
MAX_OPEN_SESSIONS = 10_000
_MAX_RECENT = 4096


class Position(NamedTuple):
    """A place in the log, ordered; ``uuid`` is the segment's and travels, ``ordinal`` only orders."""

    ordinal: int
    offset: int
    uuid: bytes

    def told(self) -> list[Any]:
        """Return the form in which positions travel to workers and into cursors."""
        return [self.uuid.hex(), self.offset]


START = Position(0, 0, bytes(16))


class Connection(Protocol):
    """What a session's answers are sent through."""

    def send(self, parts: Sequence[bytes]) -> bool:
        """Hand over a message; return whether it was taken. Never blocks."""


@dataclass(eq=False)
class SessionState:
    """One process's writing to one run, as the log has it."""

    id: bytes
    uid: bytes
    info: dict[str, Any]
    received: int = 0
    durable: int = 0
    claimed: int = 0  # a damaged batch in the log seems to have reached up to here
    ended: int | None = None  # the total, once the end is durable
    schemas: dict[int, bytes] = field(default_factory=dict)  # whole SCHEMA records by id
    schema_bytes: int = 0
    peer: Connection | None = None  # the connection that spoke last
    greeted: bool = False  # said HELLO to this process of the collector
    deleted: bool = False  # its run was removed since it was opened
    end: Position = START  # after its last durable record
    recent: deque[tuple[int, Position]] = field(default_factory=deque)
    notes_held: int = 0  # about it, and not on disk yet
    seen_s: float = field(default_factory=time.monotonic)
    silent: bool = False  # contact with its host was lost, and that is noted

    @property
    def is_remote(self) -> bool:
        """Whether it is of a process on another host, whatever that host is called."""
        return VIA in self.info

    def stored(self, last: int, position: Position) -> None:
        """Remember that everything up to ``last`` is durable before ``position``."""
        self.durable = max(self.durable, last)
        self.end = max(self.end, position)
        self.recent.append((last, position))
        if len(self.recent) > _MAX_RECENT:
            # Thinned, a number maps to a later position: a barrier then waits longer, never shorter.
            self.recent = deque(list(self.recent)[1::2])

    def position_of(self, seq: int) -> Position:
        """Return a position at or after the batch that holds ``seq``, which must be durable."""
        for last, position in self.recent:
            if last >= seq:
                return position
        return self.end

    def applied(self, position: Position) -> None:
        """Forget where batches lie that the store has applied."""
        while self.recent and self.recent[0][1] <= position:
            self.recent.popleft()


class Sessions:
    """All sessions the log still has to carry, by their id."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, SessionState] = {}

    def __iter__(self) -> Iterator[SessionState]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, session: bytes) -> SessionState | None:
        """Return the session, or None when neither the log nor a HELLO brought it."""
        return self._by_id.get(session)

    def add(self, session: SessionState) -> None:
        """Begin to carry a session."""
        self._by_id[session.id] = session

    def open(self) -> list[SessionState]:
        """Return the sessions whose end is not known."""
        return [session for session in self._by_id.values() if session.ended is None]

    def any_live(self) -> bool:
        """Return whether a session that said HELLO to this process has not ended."""
        return any(s.greeted and s.ended is None and not s.deleted for s in self._by_id.values())

    def window(self) -> int:
        """Return how many bytes each sender may have unacknowledged now."""
        sending = sum(1 for s in self._by_id.values() if s.peer is not None and s.ended is None)
        return max(LEAST_WINDOW_BYTES, min(WINDOW_BYTES, ALL_WINDOWS_BYTES // max(1, sending)))

    def forget_passed(self, synced: Position) -> None:
        """Drop ended sessions that every cursor has passed; the run's own ledger answers latecomers."""
        ended = [s for s in self._by_id.values() if s.ended is not None and not s.notes_held]
        passed = [s.id for s in ended if s.end <= synced]
        for session in passed:
            del self._by_id[session]

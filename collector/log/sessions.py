"""The collector's state of each session: high-water marks, schemas, and the positions of its batches.

Each session has two high-water marks. ``received`` (taken into the log's queue) decides what is stored.
``durable`` (on disk) is the only one that is sent to a sender. Everything here runs on the event loop, and
nothing blocks.
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
    """A position in the log, ordered; ``uuid`` is the segment's and is sent, ``ordinal`` only orders."""

    ordinal: int
    offset: int
    uuid: bytes

    def to_json(self) -> list[Any]:
        """Return the JSON form for workers and cursors: the segment's uuid in hex, an offset in bytes."""
        return [self.uuid.hex(), self.offset]


START = Position(0, 0, bytes(16))


class Connection(Protocol):
    """The connection through which the answers of a session are sent."""

    def send(self, parts: Sequence[bytes]) -> bool:
        """Queue a message for sending; return whether it was queued. Never blocks."""


@dataclass(eq=False)
class SessionState:
    """What the collector knows of one session."""

    id: bytes
    uid: bytes
    info: dict[str, Any]
    received: int = 0
    durable: int = 0
    claimed: int = 0  # the last number of a damaged batch at the end of the log, as far as it can be read
    ended: int | None = None  # how many events it has in all, once its end is durable
    schemas: dict[int, bytes] = field(default_factory=dict)  # by id: whole SCHEMA records
    schema_bytes: int = 0
    peer: Connection | None = None  # the connection that sent the last message
    hello_received: bool = False  # whether it sent HELLO to this collector process
    deleted: bool = False  # whether its run was removed after the session was opened
    end: Position = START  # the position after its last durable record
    recent: deque[tuple[int, Position]] = field(default_factory=deque)
    notes_pending: int = 0  # notes about it that are not durable yet
    seen_s: float = field(default_factory=time.monotonic)
    silent: bool = False  # whether contact with its host was lost, and a note says so

    @property
    def is_remote(self) -> bool:
        """Whether its process runs on another host, whatever the name of that host is."""
        return VIA in self.info

    def mark_durable(self, last: int, position: Position) -> None:
        """Record that everything up to number ``last`` is durable before ``position``."""
        self.durable = max(self.durable, last)
        self.end = max(self.end, position)
        self.recent.append((last, position))
        if len(self.recent) > _MAX_RECENT:
            # After this, a number maps to a later position: a barrier then waits longer, never shorter.
            self.recent = deque(list(self.recent)[1::2])

    def position_of(self, seq: int) -> Position:
        """Return a position at or after the batch that holds number ``seq``, which must be durable."""
        for last, position in self.recent:
            if last >= seq:
                return position
        return self.end

    def forget_applied(self, position: Position) -> None:
        """Forget the positions of batches that the store has applied."""
        while self.recent and self.recent[0][1] <= position:
            self.recent.popleft()


class Sessions:
    """All sessions that the log still carries, by their id."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, SessionState] = {}

    def __iter__(self) -> Iterator[SessionState]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, session: bytes) -> SessionState | None:
        """Return the session; None if neither the log nor a HELLO described it."""
        return self._by_id.get(session)

    def add(self, session: SessionState) -> None:
        """Carry a session from now on."""
        self._by_id[session.id] = session

    def open(self) -> list[SessionState]:
        """Return the sessions whose end is not durable."""
        return [session for session in self._by_id.values() if session.ended is None]

    def any_live(self) -> bool:
        """Return whether a session that sent HELLO to this process has not ended."""
        return any(s.hello_received and s.ended is None and not s.deleted for s in self._by_id.values())

    def window(self) -> int:
        """Return how many unacknowledged bytes each sender may have now."""
        sending = sum(1 for s in self._by_id.values() if s.peer is not None and s.ended is None)
        return max(LEAST_WINDOW_BYTES, min(WINDOW_BYTES, ALL_WINDOWS_BYTES // max(1, sending)))

    def forget_passed(self, synced: Position) -> None:
        """Drop the ended sessions that every cursor has passed; the run's ledger answers later questions."""
        ended = [s for s in self._by_id.values() if s.ended is not None and not s.notes_pending]
        passed = [s.id for s in ended if s.end <= synced]
        for session in passed:
            del self._by_id[session]

"""Writes a session's stream into its outbox: numbers, segments, marks, schemas, gaps.

All code here runs off the hot path, under the emitter's lock and with its busy flag set. An exception (of a
signal handler, KeyboardInterrupt) may interrupt it at any call, so each step is one assignment and can be
repeated:

- ``_head`` is the end of the valid stream; the next event overwrites whatever is behind it.
- ``_segment`` is the current segment; ``_install`` sets what the hot path derives from it.
- ``_limit`` is below zero, which sends every call to the careful path, unless both are set and no gap waits to
  be written.

Python handles signals when a call returns and at the start of a loop, so it never separates two successive
assignments. Several functions here end in such a pair for this reason.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from neural.tracking.agent.emit.outbox import Outbox, OutboxSegment
from neural.tracking.agent.emit.schemas import STALE, Names, Packer, SchemaTable
from neural.tracking.formats import events, segment
from neural.tracking.state.outbox_files import GAP_AT, HEAD_AT, NUMBER_AT

MARK_EVERY_BYTES = 256 << 10  # the sender cuts batches at marks, so that it never parses a record
# Reserved at the end of the last segment: RESERVED_BYTES for events other than metrics, and of these
# LAST_BYTES for the session's end alone. Otherwise texts could use up the room without which a run never ends.
RESERVED_BYTES = 320 << 10
LAST_BYTES = 72 << 10

CLOSED = -1  # a limit before which no event ends

pack_number = struct.Struct("<Qq").pack_into
_pack_numbered = struct.Struct("<Qqq").pack
_HEAD_BYTES = segment.FRAME_BYTES + 24
_GAP_BYTES = 64  # a gap record with the reasons below


class PendingEvent(NamedTuple):
    """An event on the careful path: checked, but not numbered yet."""

    time_ns: int
    step: int | None
    names: Names | None  # None: not metrics
    values: tuple[float, ...]
    data: bytes  # the packed map of an event that is not metrics


class StreamWriter:
    """The state of one session's stream; :class:`Emitter` adds the lock and the hot path."""

    def __init__(self, session: bytes, first_step: int = 0) -> None:
        self.schemas = SchemaTable(session)
        self.outbox: Outbox | None = None
        self.on_roll: Callable[[], None] = _nothing  # wakes the sender; may make a system call
        self._session = session
        self._gap: tuple[int, int, str] | None = None  # dropped events, not yet written as a gap
        self._written_gaps: dict[int, tuple[int, str]] = {}
        self._head = (0, 0)  # stream offset, number of the last event written
        self._step_shift = first_step - 1  # default step minus event number; other events have numbers, too
        self._segment: OutboxSegment | None = None
        self._next: OutboxSegment | None = None  # taken before the current one is nearly full
        self._installed: OutboxSegment | None = None
        self._ready: dict[Names, Packer] = {}  # by names: schemas whose record is in this segment
        self._limit = CLOSED
        self._shift = self._seed = 0
        self._buffer: Any = b""
        self._control: Any = bytearray(256)
        self._numbers = memoryview(bytearray(16)).cast("q")

    # The sender reads these without a lock: tuples and references that are replaced in one assignment.

    @property
    def head(self) -> tuple[int, int]:
        """The stream offset after the last event, and the event's number."""
        return self._head

    @property
    def segment(self) -> OutboxSegment | None:
        """The segment that is being written, None without an outbox; read it after :attr:`head`."""
        return self._segment

    @property
    def emitted(self) -> int:
        """The number of the last event, kept or dropped."""
        gap = self._gap
        return max(self._head[1], gap[1] if gap else 0)

    @property
    def next_step(self) -> int:
        """The step of the next metrics call without a step."""
        return self.emitted + 1 + self._step_shift

    @next_step.setter
    def next_step(self, step: int) -> None:
        self._step_shift = step - self.emitted - 1

    @property
    def gaps(self) -> list[tuple[int, int, str]]:
        """The numbers of dropped events: (first, last, reason)."""
        found = [(first, last, reason) for first, (last, reason) in self._written_gaps.items()]
        gap = self._gap
        return [*found, gap] if gap and gap[0] not in self._written_gaps else found

    def _write(self, item: PendingEvent, *, may_drop: bool = True, last: bool = False) -> bool | None:
        """Number the item and write it; return whether it was kept.

        Without room, count it as dropped, or return None and do nothing if ``may_drop`` is False.
        """
        entry = None if item.names is None else self.schemas.record_of(item.names)
        data = item.data
        if entry is not None:
            need = _HEAD_BYTES + 8 * len(item.values) + len(entry[1])
        else:
            if item.names is not None:  # the table is full, so this event contains its names
                named = {"names": item.names, "values": item.values}
                data = events.pack_event_data("metrics", named)
            need = segment.aligned(_HEAD_BYTES + len(data))
        spare = 0 if last else LAST_BYTES if item.names is None else RESERVED_BYTES
        if not self._secure(need + _GAP_BYTES, spare):
            return self._drop(item) if may_drop else None
        if self._gap is not None:
            self._put_gap()
        self._open(need)
        if entry is None:
            return self._put_event(item, data)
        return self._put_metrics(item, *entry)

    def _secure(self, size: int, spare: int) -> bool:
        """Return whether ``size`` bytes fit after the head; move to the next segment if necessary.

        In the last segment, ``spare`` bytes must remain after them.
        """
        current = self._segment
        if current is None or self.outbox is None:
            return False
        if self._installed is not current:
            self._install()
        end = self._head[0] + size
        if end <= current.end - RESERVED_BYTES:
            return True
        if self._next is None:
            self._next = self.outbox.take()
        if end <= current.end:
            return self._next is not None or end <= current.end - spare
        if self._next is None:
            return False
        self._roll(current, self._next)
        return True

    def _roll(self, current: OutboxSegment, following: OutboxSegment) -> None:
        """Move to the next segment; the assignment of ``_segment`` completes the move."""
        self._limit = CLOSED
        offset, seq = self._head
        base = offset
        if base // segment.LAP_BYTES != (base + following.size) // segment.LAP_BYTES:
            base = (base // segment.LAP_BYTES + 1) * segment.LAP_BYTES
        following.open(self._session, base, seq, previous=current, previous_end=offset)
        self._segment = following
        self._next = None
        self._install()
        self.on_roll()

    def _install(self) -> None:
        """Derive from ``_segment`` what the hot path uses; the limit remains closed."""
        self._limit = CLOSED
        current = self._segment
        assert current is not None
        for packer in self._ready.values():
            packer.size = STALE  # see Packer: a thread may have looked it up already
        self._ready = {}
        offset, seq = self._head
        if offset < current.base:
            self._head = (current.base, seq)
        self._buffer = current.map
        self._shift = current.base - segment.HEADER_BYTES
        self._seed = segment.lap_seed(self._session, current.base)
        self._installed = current

    def _open(self, need: int) -> None:
        """Allow the hot path to write up to the next mark, if ``need`` bytes would pass the last one."""
        current = self._segment
        assert current is not None
        offset, seq = self._head
        if offset + need <= self._limit:
            return
        if current.marks[-1][0] < offset:
            current.marks.append((offset, seq))
        struct.pack_into("<Q", self._control, HEAD_AT, offset)
        stop = current.end if self._next is not None else current.end - RESERVED_BYTES
        self._limit = min(stop, offset + MARK_EVERY_BYTES)

    def _put_metrics(self, item: PendingEvent, schema_id: int, schema: bytes) -> bool:
        assert item.names is not None
        packer = self._ready.get(item.names)
        if packer is None:
            offset, seq = self._head
            self._store(offset, schema)
            self._head = (offset + len(schema), seq)
            packer = Packer(schema_id, item.names)
            self._ready[item.names] = packer
        offset, seq = self._head
        number = seq + 1
        step = number + self._step_shift if item.step is None else item.step
        body = packer.event(packer.prefix, number, item.time_ns, step, *item.values)
        packer.write(self._buffer, offset - self._shift, zlib.crc32(body, self._seed ^ offset), body)
        pack_number(self._control, NUMBER_AT, number, ~number)
        self._head = (offset + packer.size, number)
        return True

    def _put_event(self, item: PendingEvent, data: bytes) -> bool:
        offset, seq = self._head
        number, step, step_shift = seq + 1, item.step, self._step_shift
        if item.names is None:
            step_shift -= 1  # this number does not belong to a metrics call
            step = events.NO_STEP if step is None else step
        elif step is None:
            step = number + step_shift
        body = _pack_numbered(number, item.time_ns, step) + data
        record = segment.frame(segment.EVENT, body, record_seed=segment.seed(self._session, offset))
        self._store(offset, record)
        pack_number(self._control, NUMBER_AT, number, ~number)
        head = (offset + len(record), number)
        self._step_shift = step_shift
        self._head = head
        return True

    def _put_gap(self) -> None:
        """Write the gap record of the dropped events; the caller has secured the room."""
        assert self._gap is not None
        first, last, reason = self._gap
        body = events.pack_gap(events.Gap(first, last, time.time_ns(), reason))
        offset, _ = self._head
        record = segment.frame(segment.GAP, body, record_seed=segment.seed(self._session, offset))
        self._store(offset, record)
        pack_number(self._control, GAP_AT, 0, ~0)
        self._written_gaps[first] = (last, reason)
        head = (offset + len(record), last)
        self._head = head
        self._gap = None

    def _drop(self, item: PendingEvent) -> bool:
        """Count the event as dropped: use up its number without keeping it."""
        gap = self._gap
        first, last = (gap[0], gap[1] + 1) if gap else (self._head[1] + 1,) * 2
        self._limit = CLOSED
        if gap is None:
            pack_number(self._control, GAP_AT, first, ~first)
        pack_number(self._control, NUMBER_AT, last, ~last)
        counted = (first, last, "outbox_full")
        step_shift = self._step_shift - (item.names is None)
        self._gap = counted
        self._step_shift = step_shift
        return False

    def _store(self, offset: int, record: bytes) -> None:
        position = offset - self._shift
        self._buffer[position : position + len(record)] = record


def _nothing() -> None:
    pass

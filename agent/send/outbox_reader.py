"""Reads a session's stream for its sender: the position, the batches under way, and what can be freed.

Only the sender's thread uses it. It follows the emitter without a lock: the emitter publishes its head and its
segment by single assignments, and each segment refers to the one before. Another thread may read the outbox
only through :meth:`OutboxReader.copies`, under the lock that also guards the return of segments.
"""

from __future__ import annotations

import bisect
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from neural.tracking.agent.emit.emitter import Emitter
from neural.tracking.agent.emit.outbox import Outbox, OutboxSegment
from neural.tracking.formats import segment

KEEP_MAPPED = 4  # full segments; others are unmapped, so that a long outage needs no more descriptors

_RECORD = struct.Struct("<IIHHIQQ")  # frame, and the first two words of the body


class Shipment(NamedTuple):
    """A batch under way; or, if it has no bytes, a reported gap with its reason."""

    first: int
    last: int
    start: int
    end: int
    reason: str = "outbox_removed"

    @property
    def size_bytes(self) -> int:
        """The size of the batch; 0 for a gap."""
        return self.end - self.start


class OutboxReader:
    """The stream of one session, as its sender ships it."""

    def __init__(self, emitter: Emitter, outbox: Outbox) -> None:
        self.acknowledged = 0
        self.sent = 0  # the last number shipped since the last WELCOME
        self.in_flight: deque[Shipment] = deque()
        self.in_flight_bytes = 0
        self.lock = threading.RLock()  # re-entrant: a signal handler may read inside a read
        self._emitter = emitter
        self._outbox = outbox
        self.live: deque[OutboxSegment] = deque([outbox.first])
        self._index = 0  # index in live of the segment that is being shipped
        self._offset = outbox.first.base
        self._freed = outbox.first.marks[0][1]  # numbers up to here are no longer in the outbox

    @property
    def segments(self) -> list[OutboxSegment]:
        """All segments that hold events."""
        self._follow()
        return list(self.live)

    def rewind(self, last: int) -> Shipment | None:
        """Continue after number ``last``, which the collector has.

        Returns:
            The gap that the collector lacks and the outbox no longer has, which must be reported first; None
            if there is none.
        """
        head = self._emitter.head
        self._follow()
        self.in_flight.clear()
        self.in_flight_bytes = 0
        self._acknowledge(min(last, self._emitter.emitted))
        if last < self._freed:
            self._index, self._offset, self.sent = 0, self.live[0].base, self._freed
            return Shipment(last + 1, self._freed, 0, 0)
        self._index = max(i for i, item in enumerate(self.live) if item.marks[0][1] <= last or i == 0)
        place = self.live[self._index]
        mark = bisect.bisect_right(place.marks, last, key=lambda mark: mark[1]) - 1
        self._offset, self.sent = place.marks[max(mark, 0)]
        stop, _ = self._end_of(self._index, head)
        if self.sent < last and place.readable:
            self._offset, self.sent = self._walk(place, (self._offset, self.sent), stop, last_number=last)
        return None

    def cut(self, room_bytes: int) -> tuple[Shipment, bytes] | None:
        """Return the next batch, of at most ``room_bytes`` unless one record is larger; None if nothing is new.

        A batch without a payload is a gap: its events cannot be read any more.
        """
        head = self._emitter.head
        self._follow()
        while True:
            place = self.live[self._index]
            offset, number = self._end_of(self._index, head)
            if number > self.sent and self._offset < offset <= place.end:
                break
            if self._index + 1 == len(self.live):
                return None
            self._index += 1
            self._offset = self.live[self._index].base
        if not place.readable:
            return Shipment(self.sent + 1, number, 0, 0), b""
        limit = self._offset + min(room_bytes, segment.MAX_BATCH_BYTES)
        if offset > limit:
            offset, number = self._boundary(place, limit, offset)
        shipment = Shipment(self.sent + 1, number, self._offset, offset)
        return shipment, place.read(self._offset, shipment.size_bytes)

    def shipped(self, shipment: Shipment) -> None:
        """Note that a batch of :meth:`cut`, or a gap, was sent."""
        self.in_flight.append(shipment)
        self.in_flight_bytes += shipment.size_bytes
        self.sent = shipment.last
        if shipment.end:
            self._offset = shipment.end

    def acknowledge(self, last: int) -> None:
        """Free the segments that the collector has on disk; ignore a number that was never sent."""
        if last > self.sent:
            return
        while self.in_flight and self.in_flight[0].last <= last:
            self.in_flight_bytes -= self.in_flight.popleft().size_bytes
        self._acknowledge(last)

    def move(self, outbox: Outbox) -> None:
        """Follow the emitter into another outbox, because the previous one was removed."""
        with self.lock:
            self._follow()
            for item in self.live:
                if item is outbox.first:
                    break
                item.removed = True
            self._outbox = outbox

    def keep_few_mapped(self) -> None:
        """Unmap the full segments that wait, except the first few."""
        self._follow()
        for item in list(self.live)[KEEP_MAPPED:-1]:
            if item.map is not None and not item.removed:
                with self.lock:
                    item.unmap()

    def copies(self) -> Iterator[bytes]:
        """Yield copies of the unacknowledged records, and perhaps a few more. May be called from any thread.

        Blocks briefly on the lock; an unmapped segment is read from the disk, which may raise OSError.
        """
        offset = -1
        while True:
            with self.lock:
                head = self._emitter.head
                self._follow()
                for index, place in enumerate(list(self.live)):
                    stop, _ = self._end_of(index, head)
                    start = max(offset, place.base)
                    if start < stop <= place.end and place.readable:
                        limit = start + segment.MAX_BATCH_BYTES
                        if stop > limit:
                            stop, _ = self._boundary(place, limit, stop, start)
                        piece = place.read(start, stop - start)
                        offset = stop
                        break
                else:
                    return
            yield piece

    def _follow(self) -> None:
        """Append the segments that the emitter has moved to; call it after reading the head."""
        with self.lock:  # a segment that is listed twice would be given back while it is written
            while (newest := self._emitter.segment) is not None and newest is not self.live[-1]:
                while newest.previous is not None and newest.previous is not self.live[-1]:
                    newest = newest.previous
                self.live.append(newest)

    def _end_of(self, index: int, head: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return the offset and the number at the end of a live segment's content."""
        if index + 1 < len(self.live):
            following = self.live[index + 1]
            return following.previous_end, following.marks[0][1]
        return self._emitter.head if head is None else head

    def _boundary(
        self, place: OutboxSegment, limit: int, stop: int, start: int | None = None
    ) -> tuple[int, int]:
        """Return the last record boundary up to ``limit`` after at least one more event."""
        begin = (self._offset, self.sent) if start is None else (start, -1)
        marks = place.marks
        mark = marks[bisect.bisect_right(marks, limit, key=lambda mark: mark[0]) - 1]
        if mark[0] > begin[0] and mark[1] > begin[1]:
            return mark
        return self._walk(place, begin, stop, limit=limit)

    def _walk(
        self,
        place: OutboxSegment,
        begin: tuple[int, int],
        stop: int,
        *,
        limit: int | None = None,
        last_number: int | None = None,
    ) -> tuple[int, int]:
        """Read record by record up to ``limit`` (at least one event) or past ``last_number``."""
        offset, number = begin
        if limit is not None:
            stop = min(stop, limit + segment.MAX_BATCH_BYTES)
        data = memoryview(place.read(offset, min(stop, place.end) - offset))
        pos = 0
        while pos + _RECORD.size <= len(data):
            _, length, kind, _, _, first, second = _RECORD.unpack_from(data, pos)
            if length < segment.FRAME_BYTES:
                break
            end = pos + segment.aligned(length)
            if limit is not None and begin[0] + end > limit and number > begin[1]:
                break
            if last_number is not None and kind != segment.SCHEMA and first > last_number:
                break
            pos = end
            if kind in (segment.METRICS, segment.EVENT):
                number = first
            elif kind == segment.GAP:
                number = second
        return begin[0] + pos, number

    def _acknowledge(self, last: int) -> None:
        self.acknowledged = max(self.acknowledged, last)
        while len(self.live) > 1 and self.live[1].marks[0][1] <= self.acknowledged:
            with self.lock:
                done = self.live.popleft()
                following = self.live[0]
                following.previous = None
                self._freed = following.marks[0][1]
                self._outbox.give_back(done)
            if self._index == 0:
                self._offset = following.base
            else:
                self._index -= 1

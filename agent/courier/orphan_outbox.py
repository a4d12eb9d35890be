"""The stream of an orphan for the protocol, read from its files: stands in for :class:`OutboxReader`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from neural.tracking.agent.send.outbox_reader import Shipment
from neural.tracking.state.outbox_files import LostNumbers, Orphan, OutboxPiece

PIECE_BYTES = 64 << 10


class OrphanOutbox:
    """Reads an orphan in order, from the number that the collector asks for. Reads block on the disk."""

    def __init__(self, orphan: Orphan) -> None:
        self.sent = self.acknowledged = 0
        self.in_flight: deque[Shipment] = deque()
        self.in_flight_bytes = 0
        self.newest: OutboxPiece | LostNumbers | None = None
        self._orphan = orphan
        self._pieces: Iterator[OutboxPiece | LostNumbers] = iter(())
        self._next: OutboxPiece | LostNumbers | None = None

    def rewind(self, last: int) -> None:
        """Continue after number ``last``, which the collector has; raises OSError."""
        self.in_flight.clear()
        self.in_flight_bytes = 0
        self.acknowledged = max(self.acknowledged, last)
        self.sent = last
        self._pieces = self._orphan.pieces(last, PIECE_BYTES)
        self._next = next(self._pieces, None)

    def cut(self, room_bytes: int) -> tuple[Shipment, bytes] | None:
        """Return the next batch, or a gap with an empty payload; None at the end. ``room_bytes`` is ignored."""
        piece = self._next
        if piece is None:
            return None
        if isinstance(piece, LostNumbers):
            return Shipment(piece.first, piece.last, 0, 0, piece.reason), b""
        end = piece.base + len(piece.payload)
        return Shipment(piece.first, piece.last, piece.base, end), piece.payload

    def shipped(self, shipment: Shipment) -> None:
        """Note that the batch of :meth:`cut` was sent, and read the next one; raises OSError."""
        self.in_flight.append(shipment)
        self.in_flight_bytes += shipment.size_bytes
        self.sent = shipment.last
        self.newest = self._next
        self._next = next(self._pieces, None)

    def acknowledge(self, last: int) -> None:
        """Note that the collector has everything up to ``last`` on disk; a number never sent is ignored."""
        if last > self.sent:
            return
        while self.in_flight and self.in_flight[0].last <= last:
            self.in_flight_bytes -= self.in_flight.popleft().size_bytes
        self.acknowledged = max(self.acknowledged, last)

    @property
    def is_empty(self) -> bool:
        """Whether the whole outbox was sent and acknowledged."""
        return self._next is None and self.acknowledged >= self.sent

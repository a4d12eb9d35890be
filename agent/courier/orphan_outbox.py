"""What a conversation sees of an outbox whose owner is gone: :class:`Stream`, read from the files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from neural.tracking.agent.send.outbox_reader import Shipment
from neural.tracking.state.outbox_files import LostNumbers, Orphan, OutboxPiece

PIECE_BYTES = 64 << 10


class OrphanOutbox:
    """Reads an orphan in order, from wherever the collector says."""

    def __init__(self, orphan: Orphan) -> None:
        self.sent = self.acknowledged = 0
        self.in_flight: deque[Shipment] = deque()
        self.in_flight_bytes = 0
        self.newest: OutboxPiece | LostNumbers | None = None
        self._orphan = orphan
        self._pieces: Iterator[OutboxPiece | LostNumbers] = iter(())
        self._next: OutboxPiece | LostNumbers | None = None

    def rewind(self, last: int) -> None:
        """Stand behind number ``last``, which the collector has."""
        self.in_flight.clear()
        self.in_flight_bytes = 0
        self.acknowledged = max(self.acknowledged, last)
        self.sent = last
        self._pieces = self._orphan.pieces(last, PIECE_BYTES)
        self._next = next(self._pieces, None)

    def cut(self, room_bytes: int) -> tuple[Shipment, bytes] | None:
        """Return the next batch, or with no payload a gap; None at the end."""
        piece = self._next
        if piece is None:
            return None
        if isinstance(piece, LostNumbers):
            return Shipment(piece.first, piece.last, 0, 0, piece.reason), b""
        end = piece.base + len(piece.payload)
        return Shipment(piece.first, piece.last, piece.base, end), piece.payload

    def shipped(self, shipment: Shipment) -> None:
        """Note that what :meth:`cut` returned is on its way."""
        self.in_flight.append(shipment)
        self.in_flight_bytes += shipment.size_bytes
        self.sent = shipment.last
        self.newest = self._next
        self._next = next(self._pieces, None)

    def acknowledge(self, last: int) -> None:
        """Note what the collector has on disk."""
        if last > self.sent:
            return
        while self.in_flight and self.in_flight[0].last <= last:
            self.in_flight_bytes -= self.in_flight.popleft().size_bytes
        self.acknowledged = max(self.acknowledged, last)

    @property
    def is_empty(self) -> bool:
        """Whether all of it was sent and acknowledged."""
        return self._next is None and self.acknowledged >= self.sent

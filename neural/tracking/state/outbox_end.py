"""Whether an orphan's last event is the end event; if it is not, the process died."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from neural.tracking.errors import FormatError
from neural.tracking.formats import events, segment
from neural.tracking.state.outbox_files import LostNumbers, Orphan, OutboxPiece

_LENGTH_AND_KIND = struct.Struct("<IH")


def holds_end(payload: bytes) -> bool:
    """Return whether the last record of a stretch of a session's stream is the end event."""
    *_, (kind, body) = _walk(payload)
    try:
        return kind == segment.EVENT and events.unpack_event(body).kind == "end"
    except FormatError:
        return False


def _walk(payload: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and body of records whose checksums were verified."""
    view, pos = memoryview(payload), 0
    yield 0, view[:0]
    while pos + segment.FRAME_BYTES <= len(view):
        length, kind = _LENGTH_AND_KIND.unpack_from(view, pos + 4)
        if length < segment.FRAME_BYTES:
            return
        yield kind, view[pos + segment.FRAME_BYTES : pos + length]
        pos += segment.aligned(length)


def ends(orphan: Orphan, emitted: int, newest: OutboxPiece | LostNumbers | None) -> bool:
    """Return whether the last event that the session emitted is its end event. Blocks on the disk.

    Args:
        orphan: the session's outbox.
        emitted: the number of its last event.
        newest: the last of the orphan's pieces, None if all pieces were acknowledged.
    """
    if newest is None and emitted:  # everything was acknowledged; the last segment still exists
        newest = next(orphan.pieces(emitted - 1), None)
    return isinstance(newest, OutboxPiece) and newest.last == emitted and holds_end(newest.payload)

"""Reading ``tail-<c>.seg``: the live end of a run's metrics, batches as they came in the log.

Damage is skipped and told, never believed: a record is used only when its checksum, seeded with the
tail's identity and the record's place, is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from neural.tracking.errors import FormatError
from neural.tracking.formats import event_stream, events, segment
from neural.tracking.formats.event_stream import MetricBlock
from neural.tracking.formats.segment import Damage

_UUID = slice(16, 32)  # where the header holds the tail's identity
_GROUP_BYTES = 1 << 20


def collector_of(name: str) -> str:
    """Return whose tail a file of this name is: only its own collector's parts account for what it holds."""
    return name.removeprefix("tail-").removesuffix(".seg")


class Stretch(NamedTuple):
    """Consecutive batches of one session, decoded; numbers at or below ``first - 1`` are left out."""

    session: bytes
    first: int
    last: int
    blocks: list[MetricBlock]


class Tail:
    """One tail file's bytes; iterate :meth:`stretches` once, then the attributes are complete.

    ``damages`` lists stretches of bytes that hold nothing valid, ``torn`` is where a record runs past
    the end of the file (an append that is under way, or was cut by a crash), ``end`` where the valid
    records end. ``infos`` maps sessions to (uid, info), ``last`` to their highest number.
    """

    def __init__(self, data: bytes, uuid: bytes | None = None) -> None:
        self.data = data
        self.damages: list[Damage] = []
        self.torn: int | None = None
        self.end = segment.HEADER_BYTES
        self.infos: dict[bytes, tuple[bytes, dict[str, Any]]] = {}
        self.last: dict[bytes, int] = {}
        self._schemas: dict[bytes, dict[int, tuple[str, ...]]] = {}
        # With a damaged header the identity may be whole all the same; if not, no record validates.
        self.uuid = uuid or bytes(data[_UUID]).ljust(16, b"\0")
        try:
            self.uuid = uuid or segment.read_header(data).uuid
        except FormatError:
            self.damages.append(Damage(0, min(len(data), segment.HEADER_BYTES)))

    def stretches(self, after: Mapping[bytes, int]) -> Iterator[Stretch]:
        """Yield what the tail holds, in order, of each session only numbers above ``after``'s."""
        held: list[events.Batch] = []
        held_bytes = 0
        for item in self._records():
            if item.kind == segment.BATCH:
                batch = events.unpack_batch(item.body)
                follows = held and held[-1].session == batch.session and held[-1].last < batch.first
                if held and (not follows or held_bytes > _GROUP_BYTES):
                    yield from self._decode(held, after)
                    held, held_bytes = [], 0
                held.append(batch)
                held_bytes += len(batch.payload)
                continue
            if held:
                yield from self._decode(held, after)
                held, held_bytes = [], 0
            self._learn(item)
        if held:
            yield from self._decode(held, after)

    def _records(self) -> Iterator[segment.Record]:
        size = len(self.data)
        start = segment.HEADER_BYTES
        for item in segment.scan(self.data, self.uuid, base=-segment.HEADER_BYTES, start=start):
            if isinstance(item, segment.Record):
                self.end = min(item.end, size)
                yield item
            elif item.end >= size and runs_past_end(self.data, item.start):
                self.torn = item.start
            else:
                self.damages.append(item)

    def _learn(self, record: segment.Record) -> None:
        if record.kind == segment.SESSION:
            session, uid, info = events.unpack_session(record.body)
            self.infos[session] = (uid, info)
        elif record.kind == segment.SCHEMAS:
            session = bytes(record.body[:16])
            self._schemas.setdefault(session, {}).update(events.unpack_schemas(session, record.body[16:]))

    def _decode(self, held: list[events.Batch], after: Mapping[bytes, int]) -> Iterator[Stretch]:
        session, first, last = held[0].session, held[0].first, held[-1].last
        known = max(after.get(session, 0), self.last.get(session, 0))
        if last <= known:
            return
        payload = held[0].payload if len(held) == 1 else memoryview(b"".join(b.payload for b in held))
        try:
            blocks = event_stream.decode(payload, self._schemas.get(session, {})).blocks
        except FormatError:
            # Whole by checksum and yet not understood: its schema was lost to damage further up.
            start = len(self.data) - len(held[0].payload)
            self.damages.append(Damage(start, start))
            return
        self.last[session] = last
        if first <= known:
            blocks = [cut for block in blocks if (cut := newer(block, known)) is not None]
        yield Stretch(session, max(first, known + 1), last, blocks)


def runs_past_end(data: segment.Buffer, pos: int) -> bool:
    """Return whether what begins at ``pos`` looks like a record that the file ends inside of."""
    room = len(data) - pos
    if room < segment.FRAME_BYTES:
        return True
    length = int.from_bytes(data[pos + 4 : pos + 8], "little")
    kind = int.from_bytes(data[pos + 8 : pos + 10], "little")
    return kind in segment.KINDS and room < length <= segment.MAX_RECORD_BYTES


def newer(block: MetricBlock, known: int) -> MetricBlock | None:
    """Return the rows of ``block`` numbered above ``known``, None where there are none."""
    keep = block.seq > np.uint64(known)
    if not keep.any():
        return None
    return MetricBlock(block.names, block.seq[keep], block.time_ns[keep], block.step[keep], block.values[keep])

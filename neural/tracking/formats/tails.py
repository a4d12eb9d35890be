"""Reading ``tail-<c>.seg``: the newest points of a run's metrics, in batches as the log has them.

Damage is skipped and reported. A record is used only if its checksum is correct, which is seeded with the
tail's identity and the record's offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from neural.tracking.errors import FormatError
from neural.tracking.formats import event_stream, events, segment
from neural.tracking.formats.event_stream import MetricBlock
from neural.tracking.formats.segment import Damage

_UUID = slice(16, 32)  # the position of the tail's identity in the header
_GROUP_BYTES = 1 << 20


def collector_of(name: str) -> str:
    """Return the collector (8 hex digits) that wrote the tail file of this name.

    Only parts of the same collector account for points of the tail.
    """
    return name.removeprefix("tail-").removesuffix(".seg")


class Stretch(NamedTuple):
    """Consecutive batches of one session, decoded; they cover the numbers ``first..last``."""

    session: bytes
    first: int
    last: int
    blocks: list[MetricBlock]


class Tail:
    """The bytes of one tail file; iterate :meth:`stretches` once, then the attributes are complete.

    ``damages`` lists the byte ranges without a valid record. ``torn`` is the position of a record that the
    end of the file cuts off (an append that is under way or was interrupted), else None. ``end`` is the end
    of the valid records. ``infos`` maps a session to (uid, info), ``last`` to its highest number.
    """

    def __init__(self, data: bytes, uuid: bytes | None = None) -> None:
        self.data = data
        self.damages: list[Damage] = []
        self.torn: int | None = None
        self.end = segment.HEADER_BYTES
        self.infos: dict[bytes, tuple[bytes, dict[str, Any]]] = {}
        self.last: dict[bytes, int] = {}
        self._schemas: dict[bytes, dict[int, tuple[str, ...]]] = {}
        # If the header is damaged, its identity may still be intact; if not, no record is valid.
        self.uuid = uuid or bytes(data[_UUID]).ljust(16, b"\0")
        try:
            self.uuid = uuid or segment.read_header(data).uuid
        except FormatError:
            self.damages.append(Damage(0, min(len(data), segment.HEADER_BYTES)))

    def stretches(self, after: Mapping[bytes, int]) -> Iterator[Stretch]:
        """Yield the tail's batches in order; of each session only numbers above ``after``."""
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
            # The checksum is correct, but decoding fails: damage before this record destroyed its schema.
            start = len(self.data) - len(held[0].payload)
            self.damages.append(Damage(start, start))
            return
        self.last[session] = last
        if first <= known:
            blocks = [cut for block in blocks if (cut := newer(block, known)) is not None]
        yield Stretch(session, max(first, known + 1), last, blocks)


def runs_past_end(data: segment.Buffer, pos: int) -> bool:
    """Return whether the bytes at ``pos`` look like a record that the end of ``data`` cuts off."""
    room = len(data) - pos
    if room < segment.FRAME_BYTES:
        return True
    length = int.from_bytes(data[pos + 4 : pos + 8], "little")
    kind = int.from_bytes(data[pos + 8 : pos + 10], "little")
    return kind in segment.KINDS and room < length <= segment.MAX_RECORD_BYTES


def newer(block: MetricBlock, known: int) -> MetricBlock | None:
    """Return the rows of ``block`` with numbers above ``known``; None if there are none."""
    keep = block.seq > np.uint64(known)
    if not keep.any():
        return None
    return MetricBlock(block.names, block.seq[keep], block.time_ns[keep], block.step[keep], block.values[keep])

"""Metric names sent once: the session's table of schemas, and the packers of one schema.

A schema is the tuple of names of one call. The table is permanent for the session and bounded; the
:class:`Packer` is what the hot path uses and lives as long as the outbox segment it writes into.
"""

from __future__ import annotations

import struct
import sys

from neural.tracking.formats.events import MAX_SCHEMA_BYTES, MAX_SCHEMAS, METRICS_HEAD_BYTES, pack_schema
from neural.tracking.formats.segment import METRICS

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("neural.tracking writes its files in place and needs a little-endian machine")

_PREFIX = struct.Struct("<IHHI")

STALE = 1 << 62  # as a size, it fits into no segment

Names = tuple[str, ...]


class Packer:
    """Packs metrics events of one schema; written into one segment only.

    ``size`` is the one field that changes: a segment that is left makes its packers stale by setting
    it to ``STALE``, so that the hot path's comparison with the limit, which it makes anyway, also
    catches a packer that another thread looked up before the segment changed.
    """

    __slots__ = ("event", "prefix", "size", "write")

    def __init__(self, schema_id: int, names: Names) -> None:
        length = METRICS_HEAD_BYTES + 8 * len(names)
        self.size = length  # a multiple of 8: records stay aligned without padding
        self.prefix = _PREFIX.pack(length, METRICS, 0, schema_id)
        # prefix, seq, time, step, values: what the checksum covers
        self.event = struct.Struct(f"<12sQqq{len(names)}d").pack
        self.write = struct.Struct(f"<I{length - 4}s").pack_into


class SchemaTable:
    """Names to schema ids, at most 4,096 and 4 MiB of them.

    ``records`` only grows, by one append, and an id is used in an event only after its record is in
    it: the sender may read it at any time without a lock.
    """

    def __init__(self, session: bytes) -> None:
        self._session = session
        self._ids: dict[Names, int] = {}
        self._bytes = 0
        self.records: list[bytes] = []

    def record_of(self, names: Names) -> tuple[int, bytes] | None:
        """Return id and SCHEMA record of these names, or None when the table is full."""
        schema_id = self._ids.get(names)
        if schema_id is not None:
            return schema_id, self.records[schema_id - 1]
        if len(self.records) >= MAX_SCHEMAS:
            return None
        record = pack_schema(self._session, len(self.records) + 1, names)
        if self._bytes + len(record) > MAX_SCHEMA_BYTES:
            return None
        # An exception between these three (a signal's) leaves a record no name leads to: harmless.
        self.records.append(record)
        schema_id = len(self.records)
        self._ids[names] = schema_id
        self._bytes += len(record)
        return schema_id, record

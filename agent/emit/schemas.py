"""The session's table of schemas, so that names are sent once, and the packers of one schema.

A schema is the tuple of names of one call. The table is bounded and lasts as long as the session. The hot
path uses a :class:`Packer`, which lasts as long as the outbox segment that it writes into.
"""

from __future__ import annotations

import struct
import sys

from neural.tracking.formats.events import MAX_SCHEMA_BYTES, MAX_SCHEMAS, METRICS_HEAD_BYTES, pack_schema
from neural.tracking.formats.segment import METRICS

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("neural.tracking writes its files in place and needs a little-endian machine")

_PREFIX = struct.Struct("<IHHI")

STALE = 1 << 62  # a size that fits into no segment

Names = tuple[str, ...]


class Packer:
    """Packs metrics events of one schema into one segment only.

    ``size`` is the only field that changes: when the writer leaves a segment, it sets the size of the segment's
    packers to ``STALE``. So the hot path's comparison with the limit also refuses a packer that another thread
    looked up before the segment changed.
    """

    __slots__ = ("event", "prefix", "size", "write")

    def __init__(self, schema_id: int, names: Names) -> None:
        length = METRICS_HEAD_BYTES + 8 * len(names)
        self.size = length  # a multiple of 8, so records are aligned without padding
        self.prefix = _PREFIX.pack(length, METRICS, 0, schema_id)
        # the checksum covers prefix, seq, time, step, values
        self.event = struct.Struct(f"<12sQqq{len(names)}d").pack
        self.write = struct.Struct(f"<I{length - 4}s").pack_into


class SchemaTable:
    """Maps names to schema ids, at most 4,096 schemas and 4 MiB.

    The sender may read ``records`` at any time without a lock: it only grows, by one append each, and an event
    uses an id only after its record is in the list.
    """

    def __init__(self, session: bytes) -> None:
        self._session = session
        self._ids: dict[Names, int] = {}
        self._bytes = 0
        self.records: list[bytes] = []

    def record_of(self, names: Names) -> tuple[int, bytes] | None:
        """Return id and SCHEMA record of these names, added if they are new; None if the table is full."""
        schema_id = self._ids.get(names)
        if schema_id is not None:
            return schema_id, self.records[schema_id - 1]
        if len(self.records) >= MAX_SCHEMAS:
            return None
        record = pack_schema(self._session, len(self.records) + 1, names)
        if self._bytes + len(record) > MAX_SCHEMA_BYTES:
            return None
        # A signal handler's exception between these lines leaves a record without a name, which is harmless.
        self.records.append(record)
        schema_id = len(self.records)
        self._ids[names] = schema_id
        self._bytes += len(record)
        return schema_id, record

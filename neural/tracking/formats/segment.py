"""The segment format: files of checksummed records, for outbox, log and a live run's tail.

``docs/segment-format.md`` is the normative text. Invariants of this module:

- A record is valid only in its own stream and only at the stream offset for which it was written: its
  checksum is seeded with both. Old records in a reused file, moved bytes and another session's bytes are
  never valid.
- A reader never trusts a length before the checksum; after damage it tries every 8-byte boundary.
- Nothing here opens files or blocks; callers pass bytes-like objects.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from neural.tracking.errors import FormatError

FORMAT_VERSION = 1
MAGIC = b"NTRKSEG\n"
HEADER_BYTES = 64
FRAME_BYTES = 16
ALIGNMENT = 8
MAX_RECORD_BYTES = 16 << 20
MAX_BATCH_BYTES = 1 << 20
LAP_BYTES = 1 << 32  # a segment never crosses a multiple of this stream offset

ROLE_OUTBOX, ROLE_LOG, ROLE_TAIL = 1, 2, 3

# Kinds in a session's stream: in the outbox, and unchanged inside a BATCH.
METRICS, EVENT, SCHEMA, GAP = 1, 2, 3, 4
# Kinds in log and tail.
BATCH, SCHEMAS, SESSION, MARK, NOTE = 16, 17, 18, 19, 20
KINDS = frozenset((METRICS, EVENT, SCHEMA, GAP, BATCH, SCHEMAS, SESSION, MARK, NOTE))

_HEADER = struct.Struct("<8sHHI16sQq12x")
_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<IIHHI")

Buffer = bytes | bytearray | memoryview


class Header(NamedTuple):
    """The first 64 bytes of a segment; ``base`` is the stream offset of its first record."""

    role: int
    uuid: bytes
    base: int
    created_ns: int

    def pack(self) -> bytes:
        """Return the header's 64 bytes."""
        head = _HEADER.pack(MAGIC, FORMAT_VERSION, self.role, 0, self.uuid, self.base, self.created_ns)
        return head + _CRC.pack(zlib.crc32(head))


class Record(NamedTuple):
    """A valid record; ``body`` is a view into the scanned buffer, ``end`` the next record's position."""

    pos: int
    kind: int
    id: int
    body: memoryview
    end: int


class Damage(NamedTuple):
    """A stretch of the scanned buffer without any valid record."""

    start: int
    end: int


def read_header(data: Buffer) -> Header:
    """Return the header at the start of ``data``.

    Raises:
        FormatError: it is too short, damaged, of another format or of another version.
    """
    if len(data) < HEADER_BYTES:
        raise FormatError(f"segment of {len(data)} bytes is shorter than its {HEADER_BYTES}-byte header")
    magic, version, role, _, uuid, base, created_ns = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("not a segment: the magic bytes are missing")
    (crc,) = _CRC.unpack_from(data, HEADER_BYTES - 4)
    if crc != zlib.crc32(memoryview(data)[: HEADER_BYTES - 4]):
        raise FormatError("segment header is damaged: its checksum does not match")
    if version != FORMAT_VERSION:
        raise FormatError(f"segment has format version {version}, this release reads {FORMAT_VERSION}")
    return Header(role, uuid, base, created_ns)


def aligned(length: int) -> int:
    """Return ``length`` rounded up to the alignment of records."""
    return (length + ALIGNMENT - 1) & ~(ALIGNMENT - 1)


def lap_seed(stream: bytes, offset: int) -> int:
    """Return the part of a record's checksum seed that is constant within one lap of the stream."""
    return zlib.crc32(stream + (offset >> 32).to_bytes(8, "little"))


def seed(stream: bytes, offset: int) -> int:
    """Return the checksum seed of the record at this stream offset."""
    return lap_seed(stream, offset) ^ (offset & 0xFFFFFFFF)


def schema_seed(session: bytes, schema_id: int) -> int:
    """Return the checksum seed of a SCHEMA record, which is valid anywhere among the session's records."""
    return zlib.crc32(session + b"schema") ^ schema_id


def frame(kind: int, body: Buffer, *, record_seed: int, record_id: int = 0) -> bytes:
    """Return one complete record, padded with zeros; raises FormatError if it is over 16 MiB."""
    length = FRAME_BYTES + len(body)
    if length > MAX_RECORD_BYTES:
        raise FormatError(f"record of {length} bytes is over the limit of {MAX_RECORD_BYTES} bytes")
    rest = _FRAME.pack(0, length, kind, 0, record_id)[4:] + bytes(body)
    crc = zlib.crc32(rest, record_seed)
    return _CRC.pack(crc) + rest + bytes(aligned(length) - length)


def scan(
    data: Buffer, stream: bytes, *, base: int, start: int = 0, end: int | None = None
) -> Iterator[Record | Damage]:
    """Yield every valid record of ``data[start:end]`` in order, and each damaged stretch between them.

    Args:
        data: the bytes; not copied, they must not change while records are in use.
        stream: the 16-byte id of the stream: the session in an outbox or a batch, else the segment.
        base: the stream offset of ``data[0]`` (for a segment file: ``header.base - HEADER_BYTES``).
        start: the position of the first record, a multiple of 8 from a record boundary.
        end: the position at which to stop; default the end of ``data``.

    Zeros up to ``end`` are the unwritten rest of a segment: nothing is yielded for them.
    """
    view = memoryview(data)
    stop = len(view) if end is None else min(end, len(view))
    pos = start
    while pos < stop:
        record = record_at(view, pos, stream, base, stop)
        if record is None:
            resume = _next_valid(view, pos + ALIGNMENT, stream, base, stop)
            if resume < stop or view[pos:stop].tobytes().strip(b"\0"):
                yield Damage(pos, resume)
            pos = resume
            continue
        yield record
        pos = record.end


def record_at(view: memoryview, pos: int, stream: bytes, base: int, stop: int) -> Record | None:
    """Return the record at ``pos``; None if there is no valid record that ends before ``stop``."""
    if pos + FRAME_BYTES > stop:
        return None
    crc, length, kind, _, record_id = _FRAME.unpack_from(view, pos)
    if kind not in KINDS or not FRAME_BYTES <= length <= MAX_RECORD_BYTES or pos + length > stop:
        return None
    expected = schema_seed(stream, record_id) if kind == SCHEMA else seed(stream, base + pos)
    if zlib.crc32(view[pos + 4 : pos + length], expected) != crc:
        return None
    return Record(pos, kind, record_id, view[pos + FRAME_BYTES : pos + length], pos + aligned(length))


def _next_valid(view: memoryview, pos: int, stream: bytes, base: int, stop: int) -> int:
    """Return the first position from ``pos`` on at which a record is valid, or ``stop``."""
    import numpy as np  # needed only after damage

    words = (stop - pos) // ALIGNMENT
    if words < FRAME_BYTES // ALIGNMENT:
        return stop
    # Checksums are expensive: compute them only where length and kind could be a record's.
    grid = np.frombuffer(view, dtype="<u4", count=words * 2, offset=pos)
    lengths, kinds = grid[1::2][:-1], (grid[2::2] & 0xFFFF)
    room = stop - (pos + np.arange(words - 1, dtype=np.int64) * ALIGNMENT)
    plausible = (lengths >= FRAME_BYTES) & (lengths <= np.minimum(room, MAX_RECORD_BYTES))
    plausible &= np.isin(kinds, np.array(sorted(KINDS), dtype="<u2"))
    for word in np.flatnonzero(plausible):
        candidate = pos + int(word) * ALIGNMENT
        if record_at(view, candidate, stream, base, stop) is not None:
            return candidate
    return stop

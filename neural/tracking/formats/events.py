"""The event codec: the bodies of records in a session's stream, in the log and in tails.

``docs/segment-format.md`` is the normative text. Each distinct tuple of metric names (a *schema*) is sent
once. Every event that is not a metrics event is a msgpack map. Unpacking never trusts its input: it raises
only :class:`FormatError`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from neural.tracking.errors import FormatError, PayloadTooLargeError
from neural.tracking.formats import segment
from neural.tracking.formats.event_checks import MAX_DEPTH, MAX_NUMBER, checked

NO_STEP = -(2**63)
MAX_EVENT_BYTES = 256 << 10
MAX_SCHEMAS = 4096
MAX_SCHEMA_BYTES = 4 << 20
MAX_METRICS = 10_000
MAX_NAMES_BYTES = 64 << 10

METRICS_HEAD_BYTES = segment.FRAME_BYTES + 24  # frame, seq, time, step; the values follow
_NUMBERED = struct.Struct("<Qqq")
_SEQ = struct.Struct("<Q")
_GAP = struct.Struct("<QQq")
_BATCH = struct.Struct("<16sQQQ")
_MARK = struct.Struct("<16sQQ")
BATCH_HEAD_BYTES = _BATCH.size
NOT_ENDED = 2**64 - 1
END_STATUSES = ("completed", "failed")  # the possible statuses in an end event


class Event(NamedTuple):
    """A numbered event that is not plain metrics: parameters, text, the end of a session."""

    seq: int
    time_ns: int
    step: int | None
    kind: str
    data: dict[str, Any]


class Gap(NamedTuple):
    """The numbers ``first..last``, which will not arrive, and the reason."""

    first: int
    last: int
    time_ns: int
    reason: str


class Batch(NamedTuple):
    """The body of a BATCH record: consecutive bytes of one session's stream."""

    session: bytes
    first: int
    last: int
    base: int
    payload: memoryview


def pack_event(seq: int, time_ns: int, step: int | None, kind: str, data: Mapping[str, Any]) -> bytes:
    """Return the body of an EVENT record; ``time_ns`` is nanoseconds since 1970.

    Raises:
        PayloadTooLargeError: the packed data is over 256 KiB.
        TypeError: ``data`` holds a value that msgpack cannot pack.
    """
    return _NUMBERED.pack(seq, time_ns, NO_STEP if step is None else step) + pack_event_data(kind, data)


def pack_event_data(kind: str, data: Mapping[str, Any]) -> bytes:
    """Return the msgpack part of an EVENT record's body; raises like :func:`pack_event`."""
    packed: bytes = msgpack.packb({"kind": kind, **data}, use_bin_type=True)
    if len(packed) > MAX_EVENT_BYTES:
        raise PayloadTooLargeError(f"{kind} event", len(packed), MAX_EVENT_BYTES)
    return packed


def unpack_map(data: segment.Buffer) -> dict[str, Any]:
    """Return the msgpack map in ``data``.

    Raises:
        FormatError: ``data`` is not one map with text keys, or is nested too deep or too large.
    """
    if len(data) > segment.MAX_BATCH_BYTES:
        raise FormatError(f"packed map of {len(data)} bytes is over {segment.MAX_BATCH_BYTES} bytes")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise FormatError(f"cannot unpack: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise FormatError("packed value is not a map with text keys")
    if _depth_over(value, MAX_DEPTH):
        raise FormatError(f"packed map is nested deeper than {MAX_DEPTH}")
    return value


def _depth_over(value: Any, limit: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_depth_over(child, limit - 1) for child in children)


def unpack_event(body: segment.Buffer) -> Event:
    """Return the event in an EVENT record's body, ``invalid`` where it does not fit its kind.

    Raises:
        FormatError: it is no event.
    """
    if len(body) < _NUMBERED.size:
        raise FormatError("event record is shorter than its head")
    seq, time_ns, step = _NUMBERED.unpack_from(body)
    data = unpack_map(memoryview(body)[_NUMBERED.size :])
    kind = data.pop("kind", None)
    if not isinstance(kind, str):
        raise FormatError("event has no kind")
    return Event(seq, time_ns, None if step == NO_STEP else step, *checked(kind, data))


def pack_gap(gap: Gap) -> bytes:
    """Return the body of a GAP record."""
    return _GAP.pack(gap.first, gap.last, gap.time_ns) + gap.reason.encode()


def unpack_gap(body: segment.Buffer) -> Gap:
    """Return the gap in a GAP record's body, or raise FormatError."""
    if len(body) < _GAP.size:
        raise FormatError("gap record is shorter than its head")
    first, last, time_ns = _GAP.unpack_from(body)
    if not 1 <= first <= last <= MAX_NUMBER:
        raise FormatError(f"gap from {first} to {last} is no interval of numbers")
    try:
        return Gap(first, last, time_ns, str(memoryview(body)[_GAP.size :], "utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError(f"gap reason is not UTF-8: {error}") from error


def pack_schema(session: bytes, schema_id: int, names: Sequence[str]) -> bytes:
    """Return a complete SCHEMA record, padded; it is valid anywhere among this session's records."""
    body = "\0".join(names).encode()
    return segment.frame(
        segment.SCHEMA, body, record_seed=segment.schema_seed(session, schema_id), record_id=schema_id
    )


def unpack_names(body: segment.Buffer) -> tuple[str, ...]:
    """Return the metric names in a SCHEMA record's body, or raise FormatError."""
    try:
        return tuple(str(body, "utf-8").split("\0"))
    except UnicodeDecodeError as error:
        raise FormatError(f"schema is not UTF-8: {error}") from error


def unpack_schemas(session: bytes, data: segment.Buffer) -> dict[int, tuple[str, ...]]:
    """Return the names by id from the SCHEMA records in ``data``, or raise FormatError at a bad record."""
    found: dict[int, tuple[str, ...]] = {}
    for item in segment.scan(data, session, base=0):
        if isinstance(item, segment.Damage) or item.kind != segment.SCHEMA:
            raise FormatError("schemas hold something that is no schema of this session")
        found[item.id] = unpack_names(item.body)
    return found


def pack_batch(session: bytes, first: int, last: int, base: int, payload: segment.Buffer) -> bytes:
    """Return the body of a BATCH record."""
    return b"".join((_BATCH.pack(session, first, last, base), payload))


def unpack_batch(body: memoryview) -> Batch:
    """Return the batch in a BATCH record's body, or raise FormatError; the payload is a view, not a copy."""
    if len(body) < _BATCH.size:
        raise FormatError("batch record is shorter than its head")
    session, first, last, base = _BATCH.unpack_from(body)
    return Batch(session, first, last, base, body[_BATCH.size :])


def pack_session(session: bytes, uid: bytes, info: Mapping[str, Any]) -> bytes:
    """Return the body of a SESSION record."""
    packed: bytes = msgpack.packb(info, use_bin_type=True)
    return session + uid + packed


def unpack_session(body: segment.Buffer) -> tuple[bytes, bytes, dict[str, Any]]:
    """Return session, run uid and info of a SESSION record, or raise FormatError."""
    if len(body) < 32:
        raise FormatError("session record is shorter than its head")
    return bytes(body[:16]), bytes(body[16:32]), unpack_map(memoryview(body)[32:])


def pack_mark(session: bytes, last: int, ended: int | None) -> bytes:
    """Return the body of a MARK record; ``ended`` is the session's number of events, None if unknown."""
    return _MARK.pack(session, last, NOT_ENDED if ended is None else ended)


def unpack_mark(body: segment.Buffer) -> tuple[bytes, int, int | None]:
    """Return session, high-water mark and total (None while open) of a MARK record, or raise FormatError."""
    if len(body) != _MARK.size:
        raise FormatError("mark record has the wrong length")
    session, last, ended = _MARK.unpack(body)
    return session, last, None if ended == NOT_ENDED else ended


def pack_note(session: bytes, kind: str, key: str, time_ns: int, **data: Any) -> bytes:
    """Return the body of a NOTE record: no session emitted it; readers keep one per (session, kind, key)."""
    packed: bytes = msgpack.packb({"kind": kind, "key": key, "time_ns": time_ns, **data}, use_bin_type=True)
    return session + packed


def unpack_note(body: segment.Buffer) -> tuple[bytes, dict[str, Any]]:
    """Return session and map of a NOTE record, or raise FormatError."""
    if len(body) < 16:
        raise FormatError("note record is shorter than its head")
    note = unpack_map(memoryview(body)[16:])
    if not isinstance(note.get("kind"), str) or not isinstance(note.get("key"), str):
        raise FormatError("note has no kind and key")
    return bytes(body[:16]), note


def numbers(record: segment.Record) -> tuple[int, int] | tuple[None, None]:
    """Return the first and last number that a record of a stream accounts for; (None, None) for a schema."""
    if record.kind in (segment.METRICS, segment.EVENT) and len(record.body) >= _SEQ.size:
        (seq,) = _SEQ.unpack_from(record.body)
        return seq, seq
    if record.kind == segment.GAP:
        gap = unpack_gap(record.body)
        return gap.first, gap.last
    return None, None

"""Decodes a stretch of a session's stream: equal metrics records together into columns, others one by one.

It is separate from the codec (``events.py``) because the training process only encodes: creating the first
tracker must not import NumPy. Decoding never trusts its input: it raises only :class:`FormatError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neural.tracking.errors import FormatError
from neural.tracking.formats import segment
from neural.tracking.formats.event_checks import METRICS
from neural.tracking.formats.events import (
    METRICS_HEAD_BYTES,
    NO_STEP,
    Event,
    Gap,
    unpack_event,
    unpack_gap,
    unpack_names,
)

_HEAD = struct.Struct("<IHHI")

Array = npt.NDArray[Any]

Schemas = Mapping[int, tuple[str, ...]]


class MetricBlock(NamedTuple):
    """Metrics events with the same names, in the order they were logged.

    ``seq`` (uint64), ``time_ns`` (int64) and ``step`` (int64, ``NO_STEP`` for none) have shape ``(n,)``;
    ``values`` (float64) has shape ``(n, len(names))``. They may be read-only views into the payload.
    """

    names: tuple[str, ...]
    seq: npt.NDArray[np.uint64]
    time_ns: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class Decoded(NamedTuple):
    """The content of a stretch of a session's stream."""

    blocks: list[MetricBlock]
    events: list[Event]
    gaps: list[Gap]


def decode(payload: memoryview, schemas: Schemas) -> Decoded:
    """Return the content of a stretch of a session's stream whose checksums were already verified.

    Args:
        payload: complete records; not copied, metric blocks may be views into it.
        schemas: the names by schema id that are known before this stretch; it may bring more.

    Raises:
        FormatError: a record cannot be decoded, or uses an unknown schema.
    """
    known = dict(schemas)
    decoded = Decoded([], [], [])
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for pos, count, length, kind, record_id in record_runs(payload):
        if kind == segment.METRICS:
            groups.setdefault((record_id, length), []).append((pos, count))
            continue
        body = payload[pos + segment.FRAME_BYTES : pos + length]
        if kind == segment.EVENT:
            event = unpack_event(body)
            if event.kind == METRICS:
                decoded.blocks.append(_named_block(event))
            else:
                decoded.events.append(event)
        elif kind == segment.SCHEMA:
            known[record_id] = unpack_names(body)
        elif kind == segment.GAP:
            decoded.gaps.append(unpack_gap(body))
        else:
            raise FormatError(f"record of kind {kind} does not belong into a session's stream")
    for (schema_id, length), runs in groups.items():
        decoded.blocks.append(_block(payload, schema_id, length, runs, known))
    return decoded


def is_whole(payload: memoryview, first: int, last: int) -> bool:
    """Return whether a stretch accounts for exactly the numbers ``first..last``, in order. Never blocks.

    Args:
        payload: whole records, each padded to 8 bytes.
        first, last: what the stretch is said to hold.

    Raises:
        FormatError: it does not consist of whole records.
    """
    following = first
    for pos, count, length, kind, _ in record_runs(payload):
        if kind == segment.GAP:
            gap = unpack_gap(payload[pos + segment.FRAME_BYTES : pos + length])
            if gap.first != following:
                return False
            following = gap.last + 1
        elif kind in (segment.METRICS, segment.EVENT):
            if length < segment.FRAME_BYTES + 8:
                return False
            dtype = np.dtype(
                {"names": ["seq"], "formats": ["<u8"], "offsets": [16], "itemsize": segment.aligned(length)}
            )
            seq = np.frombuffer(payload, dtype, count, pos)["seq"]
            if not np.array_equal(seq, np.arange(following, following + count, dtype=np.uint64)):
                return False
            following += count
        elif kind != segment.SCHEMA:
            return False
    return following == last + 1


def record_runs(payload: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (pos, count, length, kind, id) for each run of equal metrics records; other records singly.

    Raises:
        FormatError: a record has an impossible length.
    """
    pos, end = 0, len(payload)
    singly = 0  # so many records are read one by one after a short run: probing for a run costs more
    while pos < end:
        if pos + segment.FRAME_BYTES > end:
            raise FormatError("payload ends inside a record's head")
        length, kind, _, record_id = _HEAD.unpack_from(payload, pos + 4)
        if length < segment.FRAME_BYTES or pos + length > end:
            raise FormatError(f"record at {pos} has the impossible length {length}")
        stride = (length + 7) & ~7
        count = 1
        if singly:
            singly -= 1
        elif kind == segment.METRICS:
            room = min((end - pos) // stride, 8192)
            if room > 1:
                heads = _heads(payload, pos, stride, room)
                same = (heads["length"] == length) & (heads["kind"] == kind) & (heads["id"] == record_id)
                count = room if same.all() else int(same.argmin())
                singly = 0 if count >= 16 else 256
        yield pos, count, length, kind, record_id
        pos += stride * count


def _heads(payload: memoryview, pos: int, stride: int, count: int) -> npt.NDArray[Any]:
    dtype = np.dtype(
        {
            "names": ["length", "kind", "id"],
            "formats": ["<u4", "<u2", "<u4"],
            "offsets": [4, 8, 12],
            "itemsize": stride,
        }
    )
    return np.frombuffer(payload, dtype=dtype, count=count, offset=pos)


def _block(
    payload: memoryview, schema_id: int, length: int, runs: list[tuple[int, int]], known: Schemas
) -> MetricBlock:
    """Return the metrics records of all ``runs``, given as (position, count), as columns."""
    names = known.get(schema_id)
    if names is None:
        raise FormatError(f"metrics record uses schema {schema_id}, which was never sent")
    if length != METRICS_HEAD_BYTES + 8 * len(names):
        raise FormatError(f"metrics record of {length} bytes does not fit its {len(names)} names")
    dtype = np.dtype(
        {
            "names": ["seq", "time_ns", "step", "values"],
            "formats": ["<u8", "<i8", "<i8", ("<f8", (len(names),))],
            "offsets": [16, 24, 32, 40],
            "itemsize": length,
        }
    )
    if len(runs) == 1:
        start, count = runs[0]
        rows = np.frombuffer(payload, dtype=dtype, count=count, offset=start)
    else:
        starts, counts = np.array(runs, dtype=np.int64).T
        nth_in_run = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        positions = np.repeat(starts, counts) + length * nth_in_run
        # The length of a metrics record is a multiple of 8 bytes: gather the records as words.
        words = np.frombuffer(payload[: len(payload) // 8 * 8], dtype="<u8")
        rows = words[(positions // 8)[:, None] + np.arange(length // 8)].view(dtype)[:, 0]
    return MetricBlock(names, rows["seq"], rows["time_ns"], rows["step"], rows["values"])


def _named_block(event: Event) -> MetricBlock:
    names, values = event.data["names"], event.data["values"]
    return MetricBlock(
        tuple(names),
        np.array([event.seq], dtype=np.uint64),
        np.array([event.time_ns], dtype=np.int64),
        np.array([NO_STEP if event.step is None else event.step], dtype=np.int64),
        np.array([values], dtype=np.float64),
    )

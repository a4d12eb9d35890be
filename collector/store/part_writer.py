"""Writes a part: row groups, encodings, checksums. The file counts only after the caller has renamed it."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neural.tracking.formats import parts
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.metric_stats import Stats, metric_stats
from neural.tracking.reader.rows import Rows

OWN_GROUP_ROWS = 64 << 10  # a metric with so many rows shares its row groups with no other metric
MAX_GROUP_ROWS = 512 << 10
MAX_STATS = 10_000

_TIME = pa.timestamp("ns", tz="UTC")
_TEXT = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("metric", _TEXT, nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("step", pa.int64()),  # null if the call had no step
        pa.field("time", _TIME, nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("session", _TEXT, nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
    ]
)
_DTYPES = {pa.float64(): np.float64, pa.int64(): np.int64, _TIME: np.int64, pa.int32(): np.int32}
assert tuple(_SCHEMA.names) == parts.COLUMNS


class PartWriter:
    """Writes rows, given in order, to a temporary file; :meth:`finish` makes the file durable. Blocks."""

    def __init__(
        self, path: Path, *, collector: str, number: int, level: int, ranks: Mapping[str, int]
    ) -> None:
        self.path = path
        self._meta: dict[str, Any] = {
            "format": parts.FORMAT,
            "collector": collector,
            "number": number,
            "level": level,
        }
        self._ranks = ranks
        self._groups: list[tuple[int, str, str]] = []
        self._stats: dict[str, Stats] = {}
        self._writer = pq.ParquetWriter(
            path,
            _SCHEMA,
            compression="zstd",
            compression_level=3,
            use_dictionary=["metric", "rank", "session"],
            column_encoding={
                "value": "BYTE_STREAM_SPLIT",
                "step": "DELTA_BINARY_PACKED",
                "time": "DELTA_BINARY_PACKED",
                "seq": "DELTA_BINARY_PACKED",
            },
            write_statistics=["metric"],
            write_page_checksum=True,
            store_schema=False,
        )

    def add(self, rows: Rows) -> None:
        """Write sorted rows that come after all rows before; they get row groups of their own."""
        for start, stop in _group_spans(rows):
            self._write_group(rows.take(slice(start, stop)))
        if len(self._stats) <= MAX_STATS:
            for name, stats in metric_stats(rows):
                before = self._stats.get(name)
                self._stats[name] = stats if before is None else before.merged(stats)
                if len(self._stats) > MAX_STATS:
                    break

    def abandon(self) -> None:
        """Close and remove the file."""
        self._writer.close()
        self.path.unlink(missing_ok=True)

    def finish(self, sessions: Mapping[str, tuple[int, int]], *, calls: int, replaces: list[int]) -> None:
        """Write the footer and the checksums, and sync the file.

        Args:
            sessions: by session: the first and last number that the part covers.
            calls: how many log calls it covers.
            replaces: the numbers of the parts that it replaces.

        Raises:
            OSError: the file is unusable.
        """
        self._meta |= {
            "rows": sum(rows for rows, _, _ in self._groups),
            "calls": calls,
            "sessions": sessions,
            "ranks": {session: self._ranks.get(session, 0) for session in sessions},
            "replaces": replaces,
            "groups": self._groups,
        }
        few = len(self._stats) <= MAX_STATS
        stats = {name: found.packed() for name, found in self._stats.items()} if few else None
        blank = "0" * 8 * (1 + len(self._groups) * len(parts.COLUMNS))
        self._writer.add_key_value_metadata(
            {
                parts.META_KEY.decode(): json.dumps(self._meta),
                parts.STATS_KEY.decode(): json.dumps(stats) if stats is not None else "",
                parts.CRC_KEY.decode(): blank,
            }
        )
        self._writer.close()
        _write_checksums(self.path)

    def _write_group(self, rows: Rows) -> None:
        metric = _texts(rows.names, rows.metric)
        ranks = np.array([self._ranks.get(session, 0) for session in rows.sessions], np.int32)
        missing = rows.step == NO_STEP
        columns = [
            metric,
            _numbers(rows.value, pa.float64()),
            _numbers(rows.step, pa.int64(), missing if missing.any() else None),
            _numbers(rows.time, _TIME),
            _numbers(ranks[rows.session], pa.int32()),
            _texts(rows.sessions, rows.session),
            _numbers(rows.seq, pa.int64()),
        ]
        table = pa.Table.from_arrays(columns, schema=_SCHEMA)
        self._writer.write_table(table, row_group_size=len(rows))
        names = rows.names
        self._groups.append((len(rows), names[int(rows.metric[0])], names[int(rows.metric[-1])]))


# Arrays are made from their memory: ``pa.array`` imports pandas if it is installed, half a second and 50 MB.


def _numbers(values: Any, kind: pa.DataType, missing: Any = None) -> Any:
    there = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    memory = pa.py_buffer(np.ascontiguousarray(values, _DTYPES[kind]))
    return pa.Array.from_buffers(kind, len(values), [there, memory])


def _texts(texts: Any, codes: Any) -> Any:
    """Return a dictionary column with only the texts that it uses: each row group stores its dictionary."""
    used = np.flatnonzero(np.bincount(codes, minlength=len(texts)))
    compact = np.zeros(len(texts), np.int32)
    compact[used] = np.arange(len(used), dtype=np.int32)
    encoded = [texts[code].encode() for code in used.tolist()]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    memory = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    dictionary = pa.Array.from_buffers(pa.string(), len(encoded), memory)
    return pa.DictionaryArray.from_arrays(_numbers(compact[codes], pa.int32()), dictionary)


def _group_spans(rows: Rows) -> Iterator[tuple[int, int]]:
    """Yield where row groups begin and end: at metric boundaries, and inside a metric only if it is large."""
    total = len(rows)
    ends = np.r_[np.flatnonzero(rows.metric[1:] != rows.metric[:-1]) + 1, total] if total else []
    sizes = np.diff(np.r_[0, ends])
    large = sizes >= OWN_GROUP_ROWS
    start = index = 0
    while start < total:
        if large[index]:
            for at in range(start, int(ends[index]), MAX_GROUP_ROWS):
                yield at, min(at + MAX_GROUP_ROWS, int(ends[index]))
            index += 1
        else:
            # Small metrics share a row group until it is full or a large metric follows.
            full = int(np.searchsorted(ends, start + OWN_GROUP_ROWS))
            following = np.flatnonzero(large[index : full + 1])
            index = index + int(following[0]) if len(following) else min(full + 1, len(ends))
            yield start, int(ends[index - 1])
        start = int(ends[index - 1])


def _write_checksums(path: Path) -> None:
    """Write the checksums of all column chunks and of the footer into the room that the footer has for them."""
    metadata = pq.read_metadata(path)
    with path.open("r+b") as file:
        digits = []
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            for column in range(len(parts.COLUMNS)):
                start, length = parts.chunk_span(row_group.column(column))
                digits.append(f"{zlib.crc32(os.pread(file.fileno(), length, start)):08x}")
        size = file.seek(0, os.SEEK_END)
        length = int.from_bytes(os.pread(file.fileno(), 4, size - 8), "little")
        footer = os.pread(file.fileno(), length + 8, size - length - 8)
        start, stop = parts.value_span(footer, parts.CRC_KEY, path.name)
        chunks = "".join(digits).encode()
        if stop - start != 8 + len(chunks):
            raise OSError(f"{path.name}: the number of column chunks differs from the expected one")
        footer = footer[: start + 8] + chunks + footer[stop:]
        footer = footer[:start] + f"{zlib.crc32(footer):08x}".encode() + footer[start + 8 :]
        file.seek(size - length - 8)
        file.write(footer)
        file.flush()
        os.fsync(file.fileno())

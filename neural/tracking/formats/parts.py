"""Reading ``part-<c>-<n>.parquet``: the compacted points of a run.

Any Parquet reader can read a part. This one also detects all damage: the footer holds a checksum of itself
and one of every column chunk (including page headers, which Parquet's own page checksums omit), and a chunk
is checked before it is decoded. Footers are read without pyarrow.
"""

from __future__ import annotations

import functools
import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neural.tracking.errors import FormatError
from neural.tracking.formats.event_stream import Array

FORMAT = 1
NAME = re.compile(r"part-([0-9a-f]{8})-([0-9]{1,12})\.parquet")
META_KEY = b"ntrack"
STATS_KEY = b"ntrack.stats"
CRC_KEY = b"ntrack.crc"
COLUMNS = ("metric", "value", "step", "time", "rank", "session", "seq")
ASIDE = ".replaced"
_FOOTER_END = b"PAR1"
_USUAL_FOOTER_BYTES = 64 << 10


@dataclass(frozen=True)
class Group:
    """A row group: the names of its metrics are between ``first`` and ``last``, both included."""

    rows: int
    first: str
    last: str


@dataclass(frozen=True)
class Part:
    """The content of a part's footer. ``sessions``: first and last number that the part accounts for."""

    path: Path
    collector: str
    number: int
    level: int
    rows: int
    calls: int
    sessions: dict[bytes, tuple[int, int]]
    ranks: dict[bytes, int]
    replaces: frozenset[int]
    groups: tuple[Group, ...]
    crcs: str = field(repr=False)  # eight hex digits for each column chunk, row group by row group
    stats: bytes = field(repr=False)  # JSON, or empty if there were too many metrics

    @functools.cached_property
    def metric_stats(self) -> dict[str, Any] | None:
        """The packed stats of each metric in this part; None if they were too long to store."""
        found: dict[str, Any] | None = json.loads(self.stats) if self.stats else None
        return found

    def holding(self, metric: str) -> list[int]:
        """Return the indexes of the row groups that may contain the metric."""
        return [i for i, group in enumerate(self.groups) if group.first <= metric <= group.last]


def aside(path: Path) -> Path:
    """Return the path of a replaced part until it is removed; the pattern ``*.parquet`` does not match it."""
    return path.with_name(f".{path.name}{ASIDE}")


def own_name(path: Path) -> Path:
    """Return the regular path of a part, for its regular path or its path aside."""
    name = path.name
    return path.with_name(name[1 : -len(ASIDE)] if name.endswith(ASIDE) else name)


def number_of(name: str) -> tuple[str, int] | None:
    """Return collector and number from the name of a part's file, also one put aside; None for other files."""
    named = NAME.fullmatch(own_name(Path(name)).name)
    return None if named is None else (named[1], int(named[2]))


def skip_damage(error: FormatError, skipped: list[str] | None) -> None:
    """Add the error's text to ``skipped`` unless it is there; if ``skipped`` is None, raise the error."""
    if skipped is None:
        raise error
    if str(error) not in skipped:
        skipped.append(str(error))


def read_footer(path: Path) -> Part:
    """Return the content of a part's footer. Blocks on the disk; reads the end of the file only.

    Raises:
        FormatError: the part is damaged, truncated, or of another format.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        data = _last_bytes(file.fileno(), size, _USUAL_FOOTER_BYTES)
        length = int.from_bytes(data[-8:-4], "little")
        if data[-4:] != _FOOTER_END or length + 12 > size:
            raise FormatError(f"{path.name}: does not end as a Parquet file does")
        if length + 8 > len(data):
            data = _last_bytes(file.fileno(), size, length + 8)
    footer = data[-8 - length :]
    start, stop = value_span(footer, CRC_KEY, path.name)
    digits = footer[start:stop].decode("ascii", "replace")
    blank = footer[:start] + b"0" * 8 + footer[start + 8 :]
    if f"{zlib.crc32(blank):08x}" != digits[:8]:
        raise FormatError(f"{path.name}: the footer is damaged: its checksum does not match")
    return _part(path, footer, digits[8:])


def _last_bytes(fd: int, size: int, count: int) -> bytes:
    return os.pread(fd, count, max(0, size - count))


def value_span(footer: bytes, key: bytes, name: str) -> tuple[int, int]:
    """Return start and end of the value of a key in the footer's metadata; raises FormatError.

    Thrift's compact protocol writes a string field as 0x18, the length as a varint, and the bytes. The
    metadata is the end of the footer, and JSON contains no raw 0x18: so the last match is the right one.
    """
    mark = b"\x18" + bytes([len(key)]) + key + b"\x18"
    at = footer.rfind(mark)
    if at < 0:
        raise FormatError(f"{name}: the footer lacks {key.decode()}")
    pos = at + len(mark)
    length = shift = 0
    while True:
        if pos >= len(footer):
            raise FormatError(f"{name}: the footer ends inside {key.decode()}")
        byte = footer[pos]
        pos += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if pos + length > len(footer):
        raise FormatError(f"{name}: the footer ends inside {key.decode()}")
    return pos, pos + length


def _part(path: Path, footer: bytes, crcs: str) -> Part:
    def value(key: bytes) -> bytes:
        start, stop = value_span(footer, key, path.name)
        return footer[start:stop]

    meta = json.loads(value(META_KEY))
    if meta["format"] != FORMAT:
        raise FormatError(f"{path.name}: has format {meta['format']}, this release reads {FORMAT}")
    if number_of(path.name) != (meta["collector"], meta["number"]):
        raise FormatError(f"{path.name}: holds another part, {meta['collector']}-{meta['number']}")
    return Part(
        path=path,
        collector=meta["collector"],
        number=meta["number"],
        level=meta["level"],
        rows=meta["rows"],
        calls=meta["calls"],
        sessions={bytes.fromhex(key): (span[0], span[1]) for key, span in meta["sessions"].items()},
        ranks={bytes.fromhex(key): rank for key, rank in meta["ranks"].items()},
        replaces=frozenset(meta["replaces"]),
        groups=tuple(Group(*group) for group in meta["groups"]),
        crcs=crcs,
        stats=value(STATS_KEY),
    )


class PartReader:
    """Reads columns of a part's row groups. The file stays open, so it may be removed meanwhile.

    All methods block on the disk. Creating it raises OSError if the file cannot be opened.
    """

    def __init__(self, part: Part) -> None:
        import pyarrow.parquet as pq

        self.part = part
        self._file = part.path.open("rb")
        try:
            self._parquet = pq.ParquetFile(
                part.path, memory_map=True, read_dictionary=["metric", "session"], pre_buffer=False
            )
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> PartReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()
        self._file.close()

    def read(self, groups: Sequence[int], columns: Iterable[str]) -> Any:
        """Return an Arrow table of the row groups' columns; checks every chunk before decoding.

        Raises:
            FormatError: a chunk is damaged.
        """
        wanted = list(columns)
        for group in groups:
            self.check(group, wanted)
        try:
            return self._parquet.read_row_groups(list(groups), columns=wanted, use_threads=False)
        except (OSError, ValueError) as error:
            raise FormatError(f"{self.part.path.name}: cannot be decoded: {error}") from error

    def check(self, group: int, columns: Iterable[str] = COLUMNS) -> None:
        """Raise FormatError if a chunk of these columns does not match its checksum."""
        row_group = self._parquet.metadata.row_group(group)
        for column in columns:
            index = COLUMNS.index(column)
            start, length = chunk_span(row_group.column(index))
            place = 8 * (group * len(COLUMNS) + index)
            crc = zlib.crc32(os.pread(self._file.fileno(), length, start))
            if f"{crc:08x}" != self.part.crcs[place : place + 8]:
                raise FormatError(
                    f"{self.part.path.name}: column {column} of row group {group} is damaged "
                    f"({self.part.groups[group].rows} points)"
                )


def chunk_span(chunk: Any) -> tuple[int, int]:
    """Return offset and length of a column chunk in the file in bytes, from Parquet's own metadata."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    return start, chunk.total_compressed_size


def integers(column: Any, missing: int) -> Array:
    """Return an Arrow column of numbers or times as a NumPy array; nulls become ``missing``."""
    import pyarrow as pa

    chunks = column.chunks
    if pa.types.is_timestamp(column.type):
        chunks = [chunk.view(pa.int64()) for chunk in chunks]  # cast() would load pyarrow.compute: 60 ms
    if column.null_count:
        chunks = [chunk.fill_null(missing) for chunk in chunks]
    arrays = [_numbers(chunk) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays or [np.empty(0, np.int64)])


def codes(column: Any) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the distinct texts of a dictionary column, and the index of each row's text."""
    column = column.unify_dictionaries()
    names: list[str] = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    found = [_numbers(chunk.indices) for chunk in column.chunks]
    return names, np.concatenate(found) if found else np.empty(0, np.int32)


def _numbers(chunk: Any) -> Array:
    """Return an Arrow array without nulls as NumPy; Arrow's own ``to_numpy`` imports an installed pandas."""
    dtype = np.dtype("float64" if str(chunk.type) == "double" else str(chunk.type))
    if not len(chunk):
        return np.empty(0, dtype)
    return np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)

"""Reading ``part-<c>-<n>.parquet``: the compacted points of a run.

Any Parquet reader can read a part. This one also believes nothing: the footer carries a checksum of
itself and one of every column chunk (page headers included, which Parquet's own page checksums leave
out), and a chunk is checked before it is decoded. Footers are read without pyarrow.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neural.tracking.errors import FormatError

FORMAT = 1
NAME = re.compile(r"part-([0-9a-f]{8})-([0-9]{1,12})\.parquet")
META_KEY = b"ntrack"
STATS_KEY = b"ntrack.stats"
CRC_KEY = b"ntrack.crc"
COLUMNS = ("metric", "value", "step", "time", "rank", "session", "seq")
KEEP_REPLACED_S = 60.0
_ASIDE = ".replaced"
_MAX_TRIES = 20
_FOOTER_END = b"PAR1"
_USUAL_FOOTER_BYTES = 64 << 10

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Group:
    """A row group: its metrics lie between ``first`` and ``last`` in the order of names."""

    rows: int
    first: str
    last: str


@dataclass(frozen=True)
class Part:
    """What a part's footer says. ``sessions``: numbers this part accounts for, from and to."""

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
    crcs: str = field(repr=False)  # eight hex digits a column chunk, row group by row group
    stats: bytes = field(repr=False)  # JSON, or empty where there were too many metrics

    @functools.cached_property
    def metric_stats(self) -> dict[str, Any] | None:
        """What each metric came to in this part; None where it would have been too long to store."""
        found: dict[str, Any] | None = json.loads(self.stats) if self.stats else None
        return found

    def holding(self, metric: str) -> list[int]:
        """Return the row groups that may hold the metric."""
        return [i for i, group in enumerate(self.groups) if group.first <= metric <= group.last]


class Listing(NamedTuple):
    """The parts that count, oldest first, and the files of those that a newer part replaces."""

    live: list[Part]
    replaced: list[Path]


def list_parts(folder: Path, damages: list[str]) -> list[Part]:
    """Return the parts of a ``metrics`` folder that count, oldest first; unreadable ones go to ``damages``.

    Raises:
        FileNotFoundError: parts went while the folder was being read, every time.
    """
    return look(folder, damages).live


def look(folder: Path, damages: list[str]) -> Listing:
    """Return the parts that count and the files of those that do not any more; raises as list_parts."""
    for _ in range(_MAX_TRIES):
        names = _names(folder)
        try:
            found, broken = _footers(folder, names)
        except FileNotFoundError:
            continue
        if _names(folder) == names:  # or a merge was under way, and what was read is half of it
            break
    else:
        raise FileNotFoundError(errno.ENOENT, "parts went while they were read", str(folder))
    replaced = {(part.collector, number) for part in found for number in part.replaces}
    live = [part for part in found if (part.collector, part.number) not in replaced]
    damages += [told for whose, told in sorted(broken.items()) if whose not in replaced]
    gone = [folder / name for name in names if _number(name) in replaced]
    return Listing(sorted(live, key=lambda part: (part.collector, _order(part))), gone)


def aside(path: Path) -> Path:
    """Return where a replaced part lies until it is removed: nobody who looks for ``*.parquet`` finds it."""
    return path.with_name(f".{path.name}{_ASIDE}")


def own_name(path: Path) -> Path:
    """Return a part's name in its place, wherever it lies."""
    name = path.name
    return path.with_name(name[1 : -len(_ASIDE)] if name.endswith(_ASIDE) else name)


def clear_replaced(folder: Path) -> list[str]:
    """Remove the files of replaced parts, as a copy of a run has them that was made while parts were merged.

    Call it only where nothing is damaged. Those put aside within the last minute stay for who reads them.

    Returns:
        Their names; of none where the folder may not be written to.
    """
    damages: list[str] = []
    cleared = []
    for path in look(folder, damages).replaced if not damages else ():
        with contextlib.suppress(OSError):
            if path == own_name(path) or time.time() - path.stat().st_ctime > KEEP_REPLACED_S:
                path.unlink()
                cleared.append(own_name(path).name)
    return cleared


def _names(folder: Path) -> list[str]:
    return sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if _number(name))


def _number(name: str) -> tuple[str, int] | None:
    """Return collector and number of a part from its file's name, in place or aside; None: it is no part's."""
    named = NAME.fullmatch(own_name(Path(name)).name)
    return None if named is None else (named[1], int(named[2]))


def _footers(folder: Path, names: Iterable[str]) -> tuple[list[Part], dict[tuple[str, int], str]]:
    """Return the parts, and what is wrong with those that cannot be read."""
    found: dict[tuple[str, int], Part] = {}
    broken: dict[tuple[str, int], str] = {}
    replaced: set[tuple[str, int]] = set()
    for name in sorted(names, key=lambda name: name.endswith(_ASIDE)):
        whose = _number(name)
        # One that was put aside counts only where its replacement is not there: the power went between.
        if whose is None or (name.endswith(_ASIDE) and (whose in replaced or whose in found)):
            continue
        try:
            found[whose] = part = read_footer(folder / name)
            replaced |= {(part.collector, number) for number in part.replaces}
        except FormatError as error:
            broken[whose] = str(error)
    return list(found.values()), broken


def highest(found: Iterable[Part], collector: str | None = None) -> dict[bytes, int]:
    """Return up to which number each session is in the parts, or in those of one collector."""
    last: dict[bytes, int] = {}
    for part in found:
        if collector in (None, part.collector):
            for session, (_, to) in part.sessions.items():
                last[session] = max(to, last.get(session, 0))
    return last


def _order(part: Part) -> int:
    """Return the place of a part among its collector's: that of the first part it replaces."""
    return min(part.replaces, default=part.number)


def read_footer(path: Path) -> Part:
    """Return what the footer says.

    Raises:
        FormatError: damaged, cut off, or another format.
        OSError: cannot be read.
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
    """Return where the value of a key of the footer's metadata stands.

    Thrift's compact protocol writes a string field as 0x18, the length as a varint, the bytes. The
    metadata comes last in a footer, and what is JSON in it holds no raw 0x18: the last match is it.
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
    if _number(path.name) != (meta["collector"], meta["number"]):
        raise FormatError(f"{path.name}: holds part {meta['collector']}-{meta['number']}, another one")
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
    """Reads columns of a part's row groups; the file stays open, so it may be removed meanwhile."""

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
        """Let go of the file."""
        self._parquet.close()
        self._file.close()

    def read(self, groups: Sequence[int], columns: Iterable[str]) -> Any:
        """Return an Arrow table of the row groups' columns, every chunk checked before.

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
        """Raise FormatError unless the chunks of these columns are as they were written."""
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
    """Return offset and length of a column chunk in the file, from Parquet's own metadata."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    return start, chunk.total_compressed_size


def integers(column: Any, missing: int) -> Array:
    """Return an Arrow column of numbers or times as NumPy, nulls as ``missing``."""
    import pyarrow as pa

    chunks = column.chunks
    if pa.types.is_timestamp(column.type):
        chunks = [chunk.view(pa.int64()) for chunk in chunks]  # not cast: it loads pyarrow.compute, 60 ms
    if column.null_count:
        chunks = [chunk.fill_null(missing) for chunk in chunks]
    arrays = [_numbers(chunk) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays or [np.empty(0, np.int64)])


def codes(column: Any) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the distinct texts of a dictionary column, and for each row which one it is."""
    column = column.unify_dictionaries()
    names: list[str] = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    found = [_numbers(chunk.indices) for chunk in column.chunks]
    return names, np.concatenate(found) if found else np.empty(0, np.int32)


def _numbers(chunk: Any) -> Array:
    """Return an Arrow array without nulls as NumPy; its ``to_numpy`` imports pandas, where there is one."""
    dtype = np.dtype("float64" if str(chunk.type) == "double" else str(chunk.type))
    if not len(chunk):
        return np.empty(0, dtype)
    return np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)

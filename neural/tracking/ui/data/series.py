"""Reads metrics of runs as curves, caches them until their files change, and cuts and thins them for a chart.

Parts never change, so for a live run only new data is read. The caches have limits in bytes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cachetools import LRUCache

from neural.tracking.formats.event_stream import Array
from neural.tracking.formats.events import NO_STEP
from neural.tracking.formats.parts import Part
from neural.tracking.reader.columns import ColumnPiece, Columns
from neural.tracking.reader.points import PointFiles, part_pieces, retry_if_removed
from neural.tracking.reader.rank_union import RankUnion
from neural.tracking.ui.data.reduction import memory, smoothed, thin

T = TypeVar("T")

CURVES_BYTES = 320 << 20
PIECES_BYTES = 96 << 20
SMALL_BYTES = 48 << 20
MAX_RANK_LINES = 32


@dataclass(frozen=True)
class Curve:
    """One curve in the order of drawing; ``x`` is the step, or nanoseconds since 1970."""

    rank: int | None  # None: all ranks combined
    x: Array
    y: Array
    low: Array | None = None  # minimum and maximum over ranks
    high: Array | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the arrays in bytes."""
        return sum(int(a.nbytes) for a in (self.x, self.y, self.low, self.high) if a is not None)


@dataclass(frozen=True)
class Drawn:
    """A line for a chart; ``total`` is the number of points in the shown range before thinning."""

    rank: int | None
    x: Array
    y: Array
    total: int
    low: Array | None = None
    high: Array | None = None
    faint: tuple[Array, Array] | None = None  # the values before smoothing
    not_finite: int = 0

    @property
    def size_bytes(self) -> int:
        """The approximate size in bytes, without the band."""
        return 64 + sum(int(a.nbytes) for a in (self.x, self.y, *(self.faint or ())))


class SeriesStore:
    """Reads metrics of runs. All methods are safe to call from several threads, and block while they read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the caches, which are not thread-safe
        self._files = _cache(64, lambda files: 1)  # the limit is a number of entries, not bytes
        self._pieces = _cache(PIECES_BYTES, _pieces_bytes)
        self._lines = _cache(CURVES_BYTES, lambda lines: sum(x.size_bytes for x in lines))
        self._drawn = _cache(SMALL_BYTES, lambda lines: sum(x.size_bytes for x in lines))
        # Reading is mostly checksums and decompression, which release the GIL. More threads than cores only
        # compete for memory.
        self._readers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "ntrack-ui-reader")

    def drawn(
        self,
        folders: Sequence[Path],
        metric: str,
        *,
        by_time: bool = False,
        ranks: str = "band",
        span: tuple[float, float] | None = None,
        count: int = 1000,
        weight: float = 0.0,
    ) -> list[list[Drawn] | Exception]:
        """Return the lines of each run for a chart, or the error if they cannot be read.

        Args:
            folders: the run folders.
            metric: the name of the metric.
            by_time: order by time instead of by step.
            ranks: ``"band"`` for the mean with minimum and maximum, ``"lines"`` for one line for each rank.
            span: only points between these two values of ``x``, and the adjacent point on each side.
            count: the maximum number of points of a run.
            weight: of the past in the smoothing, 0 for none.
        """

        def one(folder: Path) -> list[Drawn] | Exception:
            try:
                signature = self.signature(folder)
                key = (folder, metric, by_time, ranks, span, count, weight)
                return self._cached(
                    self._drawn,
                    key,
                    signature,
                    lambda: _drawn(self._whole(folder, signature, metric, by_time, ranks), span, count, weight),
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                return error

        return list(self._readers.map(one, folders))

    def best(self, folder: Path, metric: str, goal: str) -> tuple[float | None, int | None]:
        """Return the best value of the mean over ranks and its first step; (None, None) if there is no value.

        Raises:
            OSError, ValueError, KeyError, TypeError: the run cannot be read, or is damaged.
        """
        lines = self._whole(folder, self.signature(folder), metric, False, "band")
        real = np.flatnonzero(~np.isnan(lines[0].y)) if lines else np.empty(0, np.int64)
        if not len(real):
            return None, None
        values = lines[0].y[real]
        place = real[int(values.argmin() if goal == "min" else values.argmax())]
        return float(lines[0].y[place]), int(lines[0].x[place])

    def signature(self, folder: Path) -> tuple[Any, ...]:
        """Return a value that changes when the points of a run change; FileNotFoundError if the run is gone."""
        found = []
        try:
            with os.scandir(folder / "metrics") as files:
                for file in files:
                    if not file.name.startswith("."):  # hidden: of replaced parts
                        info = file.stat()
                        found.append((file.name, info.st_size, info.st_mtime_ns))
        except FileNotFoundError:
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder.name} was deleted") from None
        return tuple(sorted(found))

    def columns(self, folder: Path, metric: str) -> Columns:
        """Return the points of a metric as they were logged; raises as ``Run.metric``."""
        return self._columns(folder, self.signature(folder), metric)

    def _whole(
        self, folder: Path, signature: tuple[Any, ...], metric: str, by_time: bool, ranks: str
    ) -> list[Curve]:
        def make() -> list[Curve]:
            if ranks == "lines":
                return list(_rank_lines(self._columns(folder, signature, metric, timed=by_time), by_time))
            found = self._read(
                folder, signature, lambda files: files.united(metric, self._part_pieces, timed=by_time)
            )
            return _lines(found, by_time)

        return self._cached(self._lines, (folder, metric, by_time, ranks), signature, make)

    def _cached(
        self, cache: LRUCache[Hashable, Any], key: Hashable, signature: Hashable, make: Callable[[], T]
    ) -> T:
        """Return the cached value, or make it if its signature has changed."""
        with self._lock:
            found: tuple[Hashable, T] | None = cache.get(key)
        if found is not None and found[0] == signature:
            return found[1]
        value = make()  # without the lock: reading one run must not delay another
        with self._lock:
            cache[key] = (signature, value)
        return value

    def _columns(self, folder: Path, signature: tuple[Any, ...], metric: str, *, timed: bool = True) -> Columns:
        return self._read(folder, signature, lambda files: files.metric(metric, self._part_pieces, timed=timed))

    def _read(self, folder: Path, signature: tuple[Any, ...], read: Callable[[PointFiles], T]) -> T:
        def files() -> PointFiles:
            def whole() -> PointFiles:
                # Decode it now: other threads must not find partly decoded tails.
                return PointFiles(folder / "metrics").checked()

            return retry_if_removed(whole)

        try:
            return read(self._cached(self._files, folder, signature, files))
        except FileNotFoundError:  # parts were merged meanwhile: read the folder again
            return retry_if_removed(lambda: read(files()))

    def _part_pieces(self, part: Part, metric: str, timed: bool) -> list[ColumnPiece]:
        def read() -> list[ColumnPiece]:
            return list(part_pieces(part, metric, timed=timed))

        # Large pieces would evict all others, and the joined curve is cached anyway.
        return (
            read()
            if part.rows > 1 << 20
            else self._cached(self._pieces, (part.path, metric, timed), part.crcs, read)
        )


def _cache(limit: int, size_of: Callable[[Any], int]) -> LRUCache[Hashable, Any]:
    """Return an LRU cache of (signature, value); it can hold a single value larger than ``limit``."""
    return LRUCache(limit, getsizeof=lambda held: min(size_of(held[1]), limit))


def _pieces_bytes(pieces: list[ColumnPiece]) -> int:
    return sum(p.value.nbytes + p.step.nbytes + p.time_ns.nbytes + p.seq.nbytes for p in pieces) + 64


def _lines(found: Columns | RankUnion, by_time: bool) -> list[Curve]:
    if isinstance(found, RankUnion):
        x = found.time_ns if by_time else _steps(found.step)
        return [_line(None, x, found.mean, found.low, found.high)]
    return [_of_columns(None, found, by_time)] if len(found) else []


def _rank_lines(columns: Columns, by_time: bool) -> Iterator[Curve]:
    numbers = [columns.rank[0]] if columns.rank.strides == (0,) else np.unique(columns.rank)
    if len(numbers) == 1:
        yield _of_columns(None, columns, by_time)
        return
    for number in numbers[:MAX_RANK_LINES]:
        yield _of_columns(int(number), columns.take(np.flatnonzero(columns.rank == number)), by_time)


def _of_columns(rank: int | None, columns: Columns, by_time: bool) -> Curve:
    return _line(rank, columns.time_ns if by_time else _steps(columns.step), columns.value)


def _line(rank: int | None, x: Array, y: Array, low: Array | None = None, high: Array | None = None) -> Curve:
    if np.any(x[1:] < x[:-1]):
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
        low, high = (None if a is None else a[order] for a in (low, high))
    return Curve(rank, x, y, low, high)


def _steps(step: Array) -> Array:
    """Return the steps; the index of the point where a call had no step."""
    missing = step == NO_STEP
    return np.where(missing, np.arange(len(step)), step) if missing.any() else step


def _drawn(lines: Sequence[Curve], span: tuple[float, float] | None, count: int, weight: float) -> list[Drawn]:
    each = max(100, count // max(1, len(lines)))
    return [_one_drawn(line, span, each, weight) for line in lines]


def _one_drawn(line: Curve, span: tuple[float, float] | None, count: int, weight: float) -> Drawn:
    start, stop = 0, len(line.y)
    if span is not None:
        start = max(0, int(np.searchsorted(line.x, span[0], "left")) - 1)
        stop = min(stop, int(np.searchsorted(line.x, span[1], "right")) + 1)
    # Smoothing includes all earlier points that affect the range, so that a zoom does not change the curve.
    before = start - min(start, memory(weight))
    x, y = line.x[start:stop], smoothed(line.y[before:stop], weight)[start - before :]
    faint, low, high = None, line.low, line.high
    if weight > 0 and low is None:
        count //= 2
        raw = line.y[start:stop]
        keep = thin(raw, count)
        faint = (x[keep], raw[keep])
    keep = thin(y, count)
    if low is not None and high is not None:
        low, high = low[start:stop], high[start:stop]
        third = max(4, count // 3)
        keep = np.unique(np.concatenate((thin(y, third), thin(low, third), thin(high, third))))
        low, high = low[keep], high[keep]
    return Drawn(line.rank, x[keep], y[keep], len(x), low, high, faint, int(len(x) - np.isfinite(y).sum()))

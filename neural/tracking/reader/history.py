"""Reads across all metrics of a run: the calls in the order logged, the names, the stats."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from neural.tracking.errors import FormatError
from neural.tracking.formats import parts
from neural.tracking.formats.parts import Part, PartReader
from neural.tracking.reader import rows as rows_module
from neural.tracking.reader.metric_stats import Stats, metric_stats, step_or_none
from neural.tracking.reader.points import PointFiles
from neural.tracking.reader.rows import Rows

MAX_STATS = 10_000
NAMES_AT_ONCE = 50_000


def names(files: PointFiles) -> set[str]:
    """Return the names of all metrics."""
    return set(_all_names(files))


def _all_names(files: PointFiles) -> Iterator[str]:
    """Yield the name of every metric, some of them more than once."""
    for stretch in files.stretches():
        for block in stretch.blocks:
            yield from block.names
    for part in files.parts:
        yield from part_names(part, files.skipped)


def part_names(part: Part, skipped: list[str] | None = None) -> Iterator[str]:
    """Yield the names of the metrics in a part, some more than once; ``skipped`` as for ``part_pieces``."""
    if part.metric_stats is not None:
        yield from part.metric_stats
        return
    with PartReader(part) as reader:
        for index, group in enumerate(part.groups):
            if group.first == group.last:
                yield group.first
                continue
            try:
                yield from parts.codes(reader.read([index], ["metric"]).column("metric"))[0]
            except FormatError as error:
                parts.skip_damage(error, skipped)


def calls(files: PointFiles, limit: int | None = None) -> list[dict[str, Any]]:
    """Return one flat dict for each call, in the order (time, session, number); a session's by number.

    ``limit``: only the oldest calls, so many.
    """
    rows = rows_module.concatenated([*_part_rows(files.parts, files.skipped), _tail_rows(files)])
    if not len(rows):
        return []
    rank = np.empty(len(rows.sessions), np.int64)
    rank[sorted(range(len(rank)), key=rows.sessions.__getitem__)] = np.arange(len(rank))
    session = rank[rows.session]
    order = np.lexsort((rows.seq, session))  # stable: the metrics of a call stay in the order of their names
    if len(rows.sessions) > 1:
        order = order[np.argsort(rows_module.monotonic(rows.time[order], session[order]), kind="stable")]
    seq, session = rows.seq[order], session[order]
    starts = np.flatnonzero(np.r_[True, (seq[1:] != seq[:-1]) | (session[1:] != session[:-1])])
    bounds = [*starts.tolist(), len(order)] if limit is None else [*starts.tolist(), len(order)][: limit + 1]
    rows = rows.take(order[: bounds[-1]])
    firsts = starts[: len(bounds) - 1]
    stamps = np.datetime_as_string(rows.time[firsts].astype("M8[ns]").astype("M8[us]"), timezone="UTC")
    steps = rows.step[firsts].tolist()
    labels = [rows.names[code] for code in rows.metric.tolist()]
    values = rows.value.tolist()
    found = []
    for stamp, step, start, end in zip(stamps, steps, bounds[:-1], bounds[1:], strict=True):
        own = {"timestamp": str(stamp), "step": step_or_none(step)}
        # ``own`` twice: its keys come first, and they override metrics of the same names.
        found.append({**own, **dict(zip(labels[start:end], values[start:end], strict=True)), **own})
    return found


def stats(files: PointFiles) -> tuple[dict[str, Stats], int]:
    """Return the stats of the first 10,000 metrics in the order of names, and the number of all metrics."""
    wanted, count = _first_names(files)
    total: dict[str, Stats] = {}
    for name, found in _all_stats(files):
        if name in wanted:
            total[name] = total[name].merged(found) if name in total else found
    return total, count


def _first_names(files: PointFiles) -> tuple[set[str], int]:
    """Return the first 10,000 names and the number of all names; only hashes of the others are in memory."""
    first: set[str] = set()
    hashes = np.empty(0, np.int64)
    every = _all_names(files)
    while some := set(itertools.islice(every, NAMES_AT_ONCE)):
        hashes = np.union1d(hashes, np.fromiter(map(hash, some), np.int64, len(some)))
        first |= some
        if len(first) > MAX_STATS:
            first = set(heapq.nsmallest(MAX_STATS, first))
    return first, len(hashes)


def _all_stats(files: PointFiles) -> Iterator[tuple[str, Stats]]:
    """Yield the stats of each metric, once for every part, row group or tail with its points."""
    for part in files.parts:
        if part.metric_stats is not None:
            for name, packed in part.metric_stats.items():
                yield name, Stats.unpacked(packed)
        else:
            for rows in _part_rows([part], files.skipped):
                yield from metric_stats(rows)
    yield from metric_stats(_tail_rows(files))


def _part_rows(found: Iterable[Part], skipped: list[str] | None) -> Iterator[Rows]:
    for part in found:
        with PartReader(part) as reader:
            for group in range(len(part.groups)):
                try:
                    yield rows_module.group_rows(reader, group)
                except FormatError as error:
                    parts.skip_damage(error, skipped)


def _tail_rows(files: PointFiles) -> Rows:
    gathering = rows_module.Gathering()
    for stretch in files.stretches():
        for block in stretch.blocks:
            gathering.add(stretch.session.hex(), block)
    return gathering.sorted()

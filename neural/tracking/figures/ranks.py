"""Reduces the ranks of one metric: mean, minimum and maximum at each step, the straggler and the outlier."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neural.tracking.figures.reduce import FloatArray
from neural.tracking.formats.event_stream import Array
from neural.tracking.reader.columns import Columns
from neural.tracking.reader.last_values import last_at_each

LATE_S = 0.1  # a straggler is at least so late
OUTLIER_FACTOR = (
    2.0  # and so many times as late as the median of the others; likewise for an outlier's distance
)
LAST_STEPS = 5_000


class Ranks(NamedTuple):
    """The number of ranks, the straggler and its delay, the outlier, and the ranks with NaN."""

    number: int
    slowest: int | None
    behind: str
    farthest: int | None
    with_nan: tuple[int, ...] = ()

    def remarks(self) -> list[str]:
        """Return short remarks for a figure, the most important first."""
        also = ", outlier" if self.farthest == self.slowest else ""
        slowest = "" if self.slowest is None else f", straggler: rank {self.slowest} ({self.behind}{also})"
        words = [f"{self.number} ranks{slowest}"]
        if self.with_nan:
            more = f" and {len(self.with_nan) - 3} more" if len(self.with_nan) > 3 else ""
            words.append(f"NaN of rank {', '.join(map(str, self.with_nan[:3]))}{more}")
        return words if self.farthest in (None, self.slowest) else [*words, f"outlier: rank {self.farthest}"]


def band_of(columns: Columns) -> tuple[Ranks, Array, FloatArray, FloatArray, FloatArray]:
    """Return the notable ranks, the steps in order, and mean, minimum and maximum at each step.

    If a rank logged a step several times, only its last value counts. The mean ignores NaN: a NaN of one rank
    must not hide the values of the others.
    """
    columns = columns.take(last_at_each(columns.step, columns.rank))
    order = np.argsort(columns.step, kind="stable")
    step, value = columns.step[order], columns.value[order]
    starts = np.flatnonzero(np.r_[True, step[1:] != step[:-1]])
    known = ~np.isnan(value)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        mean = np.add.reduceat(np.where(known, value, 0.0), starts) / np.add.reduceat(
            known, starts, dtype=float
        )
    low, high = np.fmin.reduceat(value, starts), np.fmax.reduceat(value, starts)
    return _notable_ranks(columns, order, starts), step[starts], mean, low, high


def _notable_ranks(columns: Columns, order: Array, starts: Array) -> Ranks:
    ranks = np.unique(columns.rank)
    # The last steps are enough to find a straggler, and they bound the size of the tables below.
    first = max(0, len(starts) - LAST_STEPS)
    chosen = order[starts[first] :]
    place = np.searchsorted(starts[first:], np.arange(starts[first], len(order)), side="right") - 1
    row = np.searchsorted(ranks, columns.rank[chosen])
    shape = (len(ranks), len(starts) - first)
    time_s, value = np.full(shape, np.nan), np.full(shape, np.nan)
    time_s[row, place] = (columns.time_ns[chosen] - columns.time_ns.min()) / 1e9
    value[row, place] = columns.value[chosen]
    slowest, behind = _straggler(ranks, columns, time_s)
    farthest = _outlier(value)
    with_nan = np.unique(columns.rank[np.isnan(columns.value)])
    return Ranks(
        len(ranks),
        slowest,
        behind,
        None if farthest is None else int(ranks[farthest]),
        tuple(with_nan.tolist()) if len(with_nan) < len(ranks) else (),
    )


def _straggler(ranks: Array, columns: Columns, time_s: FloatArray) -> tuple[int | None, str]:
    """Return the rank whose steps are the latest, and its delay as text; (None, "") if none is late."""
    reached = np.full(len(ranks), np.iinfo(np.int64).min)
    np.maximum.at(reached, np.searchsorted(ranks, columns.rank), columns.step)
    if reached.min() < reached.max():
        behind = int(reached.max()) - int(reached.min())
        return int(ranks[reached.argmin()]), f"{behind} steps behind"
    complete = ~np.isnan(time_s).any(axis=0)
    if not complete.any():
        return None, ""
    late = np.median(time_s[:, complete] - time_s[:, complete].min(axis=0), axis=1)
    worst = int(late.argmax())
    others = np.delete(late, worst)
    if late[worst] < LATE_S or late[worst] < OUTLIER_FACTOR * np.median(others):
        return None, ""
    return int(ranks[worst]), f"+{late[worst]:.2g} s"


def _outlier(value: FloatArray) -> int | None:
    """Return the only row that is far from the median, else None. With fewer than three rows there is none."""
    value = np.where(np.isfinite(value), value, np.nan)
    value = value[:, ~np.isnan(value).all(axis=0)]
    with np.errstate(over="ignore"):
        distance = np.abs(value - np.nanmedian(value, axis=0))
    known = np.isfinite(distance)
    far = np.where(known, distance, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    worst = int(far.argmax())
    others = np.delete(far, worst)
    if len(far) < 3 or far[worst] <= OUTLIER_FACTOR * others.max():
        return None
    return worst

"""Unites the ranks of a metric step by step while it is read: memory grows with the steps, not the ranks.

It needs one point for each step of each rank; :mod:`neural.tracking.reader.last_values` ensures that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from neural.tracking.formats.event_stream import Array

AT_ONCE = 1 << 20  # the minimum number of points that are sorted together


class RankUnion(NamedTuple):
    """One point for each step over all ranks, in step order: arrays of equal length.

    ``total``: the sum of ``number`` values, NaN if one of them is; ``low`` and ``high``: minimum and maximum,
    NaN only if all values are; ``time_ns``: the latest time.
    """

    step: Array
    total: Array
    number: Array
    low: Array
    high: Array
    time_ns: Array

    @property
    def mean(self) -> Array:
        """The mean of the values at each step, NaN if one of them is."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.total / self.number


class RankUnionBuilder:
    """Unites points of any ranks, which it takes in any order."""

    def __init__(self) -> None:
        self._united: RankUnion | None = None
        self._waiting: list[tuple[Array, Array, Array]] = []
        self._points = 0  # how many are in ``_waiting``

    def add(self, step: Array, value: Array, time_ns: Array) -> None:
        """Add points; the arrays are held until they are united, and never changed."""
        if not len(step):
            return
        self._waiting.append((step, value, time_ns))
        self._points += len(step)
        # Wait for half as many points as are united: then each point is moved only a few times in total.
        if self._points > max(AT_ONCE, 0 if self._united is None else len(self._united.step) // 2):
            self._unite()

    def united(self) -> RankUnion:
        """Return the union of all added points; at least one point must have been added."""
        if self._waiting:
            self._unite()
        assert self._united is not None
        return self._united

    def _unite(self) -> None:
        step, value, time_ns = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        self._waiting, self._points = [], 0
        found = _by_step(step, value, time_ns)
        self._united = found if self._united is None else _merged(self._united, found)


def _by_step(step: Array, value: Array, time_ns: Array) -> RankUnion:
    order = np.argsort(step, kind="stable")
    step, value, time_ns = step[order], value[order], time_ns[order]
    starts = np.flatnonzero(np.r_[True, step[1:] != step[:-1]])
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.add.reduceat(value, starts)
    return RankUnion(
        step[starts],
        total,
        np.diff(np.r_[starts, len(step)]).astype(np.int32),
        np.fmin.reduceat(value, starts),
        np.fmax.reduceat(value, starts),
        np.maximum.reduceat(time_ns, starts),
    )


def _merged(first: RankUnion, second: RankUnion) -> RankUnion:
    """Return the union of both; each of them has a step at most once."""
    both = np.sort(np.concatenate((first.step, second.step)), kind="stable")
    step = both[np.r_[True, both[1:] != both[:-1]]]
    at_first, at_second = np.searchsorted(step, first.step), np.searchsorted(step, second.step)

    def united(a: Array, b: Array, how: np.ufunc, none: Any) -> Array:
        out = np.full(len(step), none, a.dtype)
        out[at_first] = a
        with np.errstate(invalid="ignore", over="ignore"):
            out[at_second] = how(out[at_second], b)
        return out

    return RankUnion(
        step,
        united(first.total, second.total, np.add, 0.0),
        united(first.number, second.number, np.add, 0),
        united(first.low, second.low, np.fmin, np.nan),
        united(first.high, second.high, np.fmax, np.nan),
        united(first.time_ns, second.time_ns, np.maximum, np.iinfo(np.int64).min),
    )

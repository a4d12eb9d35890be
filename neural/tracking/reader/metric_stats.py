"""The stats of a metric: count, minimum, maximum and last value; they can be merged in any grouping.

Parts, the live tail and rebuilt views use the same code, so their summaries cannot differ. ``last`` is the last
point in the order (time, session, number); within a session the numbers decide, even if its clock jumped. NaN
is never the minimum or maximum. Of equal values the first in that order counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from neural.tracking.formats.event_lines import NOT_FINITE, json_value
from neural.tracking.formats.event_stream import Array
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.rows import Rows, monotonic

_MAX_INT64 = np.iinfo(np.int64).max


class Extreme(NamedTuple):
    """A point with a minimum, maximum or last value; ``time_ns``: its session's latest time up to it."""

    value: float
    time_ns: int
    session: str
    seq: int
    step: int

    def before(self, other: Extreme) -> bool:
        """Return whether the point is before the other one in the order (time, session, number)."""
        if self.session == other.session:
            return self.seq < other.seq
        return (self.time_ns, self.session) < (other.time_ns, other.session)


class Stats(NamedTuple):
    """Stats of a metric: ``minimum`` and ``maximum`` are None if all values are NaN; ``last`` can be NaN."""

    points: int
    minimum: Extreme | None
    maximum: Extreme | None
    last: Extreme | None

    def merged(self, other: Stats) -> Stats:
        """Return the stats of both sets of points together."""
        return Stats(
            self.points + other.points,
            _better(self.minimum, other.minimum, lambda new, old: new < old),
            _better(self.maximum, other.maximum, lambda new, old: new > old),
            _later(self.last, other.last),
        )

    def packed(self) -> list[Any]:
        """Return a list for JSON; floats that JSON cannot hold become text."""
        return [self.points, *(json_value(e) if e is not None else None for e in self[1:])]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> Stats:
        """Return the stats from a list that :meth:`packed` returned."""
        count, *extremes = packed
        return cls(count, *(None if e is None else Extreme(_number(e[0]), *e[1:]) for e in extremes))

    def plain(self) -> dict[str, Any]:
        """Return a dict for people: count, and the values with their steps."""
        shown: dict[str, Any] = {"count": self.points}
        for name, extreme in (("last", self.last), ("min", self.minimum), ("max", self.maximum)):
            shown[name] = None if extreme is None else extreme.value
            if name != "last":
                shown[f"{name}_step"] = None if extreme is None else step_or_none(extreme.step)
            else:
                shown["last_step"] = None if extreme is None else step_or_none(extreme.step)
        return shown


def step_or_none(step: int) -> int | None:
    """Return the step, None for ``NO_STEP``."""
    return None if step == NO_STEP else step


def _later(one: Extreme | None, other: Extreme | None) -> Extreme | None:
    if one is None or other is None:
        return one if other is None else other
    latest = other if one.before(other) else one
    return latest._replace(time_ns=max(one.time_ns, other.time_ns)) if one.session == other.session else latest


def _better(one: Extreme | None, other: Extreme | None, is_better: Any) -> Extreme | None:
    if one is None or other is None:
        return one if other is None else other
    if one.value == other.value:
        return one if one.before(other) else other
    return other if is_better(other.value, one.value) else one


def _number(value: float | str) -> float:
    return NOT_FINITE[value] if isinstance(value, str) else float(value)


def metric_stats(rows: Rows) -> Iterator[tuple[str, Stats]]:
    """Yield name and stats of each metric; ``rows`` must be sorted by metric, session and number."""
    if not len(rows):
        return
    starts = np.flatnonzero(np.r_[True, rows.metric[1:] != rows.metric[:-1]])
    rows = replace(rows, time=monotonic(rows.time, rows.metric.astype(np.int64) << 32 | rows.session))
    ends = np.r_[starts[1:], len(rows)]
    lowest = _extremes(rows, starts, np.fmin.reduceat(rows.value, starts))
    highest = _extremes(rows, starts, np.fmax.reduceat(rows.value, starts))
    latest = _latest(rows, starts)
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        yield (
            rows.names[rows.metric[start]],
            Stats(end - start, _at(rows, lowest[i]), _at(rows, highest[i]), _at(rows, latest[i])),
        )


def _extremes(rows: Rows, starts: Array, value: Array) -> Array:
    """Return for each metric the row of the earliest point with ``value``; -1 if all its values are NaN."""
    spread = np.repeat(value, np.diff(np.r_[starts, len(rows)]))
    return _earliest(rows, starts, rows.value == spread)


def _earliest(rows: Rows, starts: Array, among: Array) -> Array:
    time = np.minimum.reduceat(np.where(among, rows.time, _MAX_INT64), starts)
    spread = np.repeat(time, np.diff(np.r_[starts, len(rows)]))
    # Rows are sorted by session and number: of equal times, the first row is the first point.
    places = np.where(among & (rows.time == spread), np.arange(len(rows)), _MAX_INT64)
    found: Array = np.minimum.reduceat(places, starts)
    return np.where(found == _MAX_INT64, -1, found)


def _latest(rows: Rows, starts: Array) -> Array:
    time = np.maximum.reduceat(rows.time, starts)
    spread = np.repeat(time, np.diff(np.r_[starts, len(rows)]))
    found: Array = np.maximum.reduceat(np.where(rows.time == spread, np.arange(len(rows)), -1), starts)
    return found


def _at(rows: Rows, place: int) -> Extreme | None:
    if place < 0:
        return None
    return Extreme(
        float(rows.value[place]),
        int(rows.time[place]),
        rows.sessions[rows.session[place]],
        int(rows.seq[place]),
        int(rows.step[place]),
    )

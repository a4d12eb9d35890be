"""One value for each rank and step: if a rank logged a step more than once, its last value counts.

Gradient accumulation logs a step several times in a row; a resumed training logs earlier steps again.
Repetitions in a row are removed at once. The steps to which a rank returned are known only after all its points
were read. So that takes a second pass, which holds only the points at such steps in memory.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from neural.tracking.formats.event_stream import Array
from neural.tracking.reader.rows import monotonic


class Points(NamedTuple):
    """Points of one session: arrays of equal length, in the order of their numbers."""

    step: Array
    value: Array
    time_ns: Array
    seq: Array

    def take(self, which: Array | slice) -> Points:
        """Return only these points."""
        return Points(*(column[which] for column in self))


def last_at_each(step: Array, rank: Array | None = None) -> Array | slice:
    """Return the positions of the last point at each step (of each rank, if given), in ascending order."""
    if rank is None and _rises(step):
        return slice(None)
    order = np.argsort(step, kind="stable") if rank is None else np.lexsort((step, rank))
    ends = step[order][1:] != step[order][:-1]
    if rank is not None:
        ends |= rank[order][1:] != rank[order][:-1]
    return np.sort(order[np.r_[ends, True]])


class Revisits:
    """Finds the steps to which ranks returned, and then the last point of each rank at each of them.

    Call :meth:`scan` with all points, then :meth:`separate` with all points, then :meth:`last_points`.
    """

    def __init__(self) -> None:
        self._seen: dict[int, list[tuple[int, int]]] = {}  # by rank: spans of steps, sorted, without overlaps
        self._revisited: dict[int, list[tuple[int, int]]] = {}
        self._held: list[tuple[int, str, Points]] = []
        self._latest_ns: dict[str, int] = {}

    @property
    def any(self) -> bool:
        """Whether some rank may have returned to a step."""
        return bool(self._revisited)

    def scan(self, rank: int, points: Points) -> Points:
        """Scan further points of a rank; of consecutive points at the same step return only the last."""
        rises = _rises(points.step)  # the usual case
        if not rises:
            points = _in_a_row_once(points)
            rises = _rises(points.step)
        step = points.step
        if not len(step):
            return points
        low, high = int(step[0]), int(step[-1])
        if not rises:
            reached = np.maximum.accumulate(step)
            back = step[1:][step[1:] <= reached[:-1]]
            self._mark(rank, int(back.min()), int(back.max()))
            low, high = int(step.min()), int(reached[-1])
        self._see(rank, low, high)
        return points

    def _see(self, rank: int, low: int, high: int) -> None:
        seen = self._seen.setdefault(rank, [])
        first = bisect.bisect_left(seen, low, key=lambda span: span[1])
        last = bisect.bisect_right(seen, high, key=lambda span: span[0])
        for known_low, known_high in seen[first:last]:
            self._mark(rank, max(low, known_low), min(high, known_high))
        if seen[first:last]:
            low, high = min(low, seen[first][0]), max(high, seen[last - 1][1])
        elif first and seen[first - 1][1] == low - 1:  # otherwise the list would grow with the run
            first -= 1
            low = seen[first][0]
        seen[first:last] = [(low, high)]

    def _mark(self, rank: int, low: int, high: int) -> None:
        spans = sorted([*self._revisited.get(rank, ()), (low, high)])
        joined = spans[:1]
        for low, high in spans[1:]:
            if low <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(high, joined[-1][1])
            else:
                joined.append((low, high))
        self._revisited[rank] = joined

    def separate(self, rank: int, session: str, points: Points) -> Points:
        """Return the points at steps to which the rank never returned; hold the others in memory."""
        if rank not in self._revisited or not len(points.step):
            return points if _rises(points.step) else _in_a_row_once(points)
        # A clock may jump back, but a session's own points must remain in the order of their numbers.
        latest_ns = self._latest_ns.get(session, int(points.time_ns[0]))
        ordered_ns = np.maximum(np.maximum.accumulate(points.time_ns), latest_ns)
        self._latest_ns[session] = int(ordered_ns[-1])
        lows, highs = np.array(self._revisited[rank], np.int64).T
        place = np.searchsorted(lows, points.step, side="right") - 1
        again = (place >= 0) & (points.step <= highs[place])
        if again.any():
            held = points._replace(time_ns=ordered_ns).take(again)
            self._held.append((rank, session, _in_a_row_once(held)))
            points = points.take(~again)
        return points if _rises(points.step) else _in_a_row_once(points)

    def last_points(self) -> Iterator[Points]:
        """Yield of the held points the last of each rank at each step, by time, session and number."""
        names = sorted({session for _, session, _ in self._held})
        for rank in sorted({rank for rank, _, _ in self._held}):
            mine = [(session, points) for of, session, points in self._held if of == rank]
            session = np.concatenate([np.full(len(p.step), names.index(s), np.int32) for s, p in mine])
            points = Points(*(np.concatenate(column) for column in zip(*(p for _, p in mine), strict=True)))
            order = np.lexsort((points.seq, session))
            points, session = points.take(order), session[order]
            points = points.take(np.argsort(monotonic(points.time_ns, session), kind="stable"))
            yield points.take(last_at_each(points.step))


def _rises(step: Array) -> bool:
    return bool(np.all(step[1:] > step[:-1]))


def _in_a_row_once(points: Points) -> Points:
    """Return of consecutive points at the same step only the last; ``points`` must not be empty."""
    return points.take(np.flatnonzero(np.r_[points.step[1:] != points.step[:-1], True]))

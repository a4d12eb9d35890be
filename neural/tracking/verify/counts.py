"""Sets of event numbers, and the count of one session: what is stored, missing or there twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neural.tracking.formats.event_checks import MAX_NUMBER

Spans = list[tuple[int, int]]
ONE, HIGHEST = np.uint64(1), np.uint64(2**64 - 1)


class NumberSet:
    """A set of event numbers, as intervals in order: its size does not depend on how high the numbers are."""

    def __init__(self, spans: Sequence[tuple[int, int]] = ()) -> None:
        self._first, self._last = _columns(())
        self.add_spans(spans)

    def add(self, seq: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
        """Add numbers; return those that were in already, or come more than once."""
        numbers = seq.astype(np.uint64)
        if not len(numbers):
            return numbers
        repeated: npt.NDArray[np.bool_] = np.zeros(len(numbers), bool)
        if not np.all(numbers[1:] > numbers[:-1]):
            numbers, times = np.unique(numbers, return_counts=True)
            repeated = times > 1
        known = numbers[repeated | self._has(numbers)]
        ends = np.append(np.flatnonzero(np.diff(numbers) > 1), len(numbers) - 1)
        self._join(numbers[np.append(0, ends[:-1] + 1)], numbers[ends])
        return known

    def add_spans(self, spans: Sequence[tuple[int, int]]) -> None:
        """Add every number of each interval ``(first, last)``."""
        if spans:
            self._join(*_columns(spans))

    def discard_upto(self, last: int) -> None:
        """Remove ``1..last``."""
        if last:
            rest = self.without(NumberSet([(1, last)]))
            self._first, self._last = rest._first, rest._last

    def count(self, upto: int) -> int:
        """Return how many of ``1..upto`` are in."""
        inside = self._first <= upto
        return int((np.minimum(self._last[inside], np.uint64(upto)) - self._first[inside] + ONE).sum())

    def highest(self) -> int:
        """Return the highest number that is in; 0 if the set is empty."""
        return int(self._last[-1]) if len(self._last) else 0

    def spans(self) -> Spans:
        """Return the numbers as intervals, in order."""
        return list(zip(self._first.tolist(), self._last.tolist(), strict=True))

    def without(self, *others: NumberSet) -> NumberSet:
        """Return the numbers that are in none of the others."""
        gone = NumberSet()
        for other in others:
            gone._join(other._first, other._last)
        # What is between the intervals of the others, cut to each interval of this set.
        first = np.append(ONE, gone._last + ONE)
        last = np.append(gone._first - ONE, HIGHEST)
        begin = np.searchsorted(last, self._first)
        count = np.searchsorted(first, self._last, side="right") - begin
        own = np.repeat(np.arange(len(count)), count)
        free = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count) + np.repeat(begin, count)
        left = NumberSet()
        left._first = np.maximum(self._first[own], first[free])
        left._last = np.minimum(self._last[own], last[free])
        return left

    def _has(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        if not len(self._first):
            return np.zeros(len(numbers), bool)
        at = np.searchsorted(self._first, numbers, side="right") - 1
        found: npt.NDArray[np.bool_] = (at >= 0) & (numbers <= self._last[at])
        return found

    def _join(self, first: npt.NDArray[np.uint64], last: npt.NDArray[np.uint64]) -> None:
        first, last = np.append(self._first, first), np.append(self._last, last)
        if not len(first):
            return
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order])
        begins = np.flatnonzero(np.append(True, first[1:] - ONE > last[:-1]))
        self._first, self._last = first[begins], last[np.append(begins[1:] - 1, len(last) - 1)]


def _columns(spans: Sequence[tuple[int, int]]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    columns = np.array(spans, np.uint64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


@dataclass
class Count:
    """The count of one session while its run is being verified."""

    stored: NumberSet = field(default_factory=NumberSet)
    bad: NumberSet = field(default_factory=NumberSet)
    doubled: NumberSet = field(default_factory=NumberSet)
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    pending: NumberSet = field(default_factory=NumberSet)
    claimed: int = 0
    in_log: int = 0  # the log had everything up to this number
    rank: int = 0
    ended: bool = False
    holder: Path | None = None  # the first file found with points of the session
    introduced: bool = False  # whether a ledger or an info line names the session
    open_gap: str | None = None  # why an unknown number of further events may have been emitted

    def store(self, seq: npt.NDArray[Any]) -> None:
        """Count the numbers as stored; numbers that were counted before are doubled."""
        self.doubled.add(self.stored.add(seq))

    def store_all(self, numbers: NumberSet) -> None:
        """Count a set of numbers as stored; those counted before are doubled."""
        self.doubled.add_spans(numbers.without(numbers.without(self.stored)).spans())
        self.stored.add_spans(numbers.spans())

    def claim(self, number: int | None, holder: Path | None = None) -> None:
        """Raise the number of emitted events to at least ``number``, which the file ``holder`` claims."""
        if number is not None and number <= MAX_NUMBER:
            self.claimed = max(self.claimed, number)
        self.holder = self.holder or holder


Counts = dict[str, Count]

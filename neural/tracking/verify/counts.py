"""Sets of event numbers, and the count of one session: which numbers are stored, missing or doubled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Spans = list[tuple[int, int]]


class NumberSet:
    """A set of event numbers; it takes a byte for each number: 10 MB for 10 million events."""

    def __init__(self) -> None:
        self._flags: npt.NDArray[np.bool_] = np.zeros(1024, bool)

    def add(self, seq: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Add the numbers; return those that were in the set before."""
        if not len(seq):
            return seq
        self._reach(int(seq.max()))
        known: npt.NDArray[Any] = seq[self._flags[seq]]
        self._flags[seq] = True
        return known

    def add_span(self, first: int, last: int) -> None:
        """Add the numbers ``first..last``."""
        self._reach(last)
        self._flags[first : last + 1] = True

    def add_all(self, other: NumberSet) -> None:
        """Add all numbers of ``other``."""
        for first, last in other.spans():
            self.add_span(first, last)

    def discard_upto(self, last: int) -> None:
        """Remove the numbers ``1..last``."""
        self._flags[: last + 1] = False

    def count(self, upto: int) -> int:
        """Return how many of the numbers ``1..upto`` are in the set."""
        return int(np.count_nonzero(self._flags[1 : upto + 1]))

    def highest(self) -> int:
        """Return the highest number in the set, 0 if it is empty."""
        found = np.flatnonzero(self._flags)
        return int(found[-1]) if len(found) else 0

    def spans(self) -> Spans:
        """Return the numbers as intervals (first, last), both included."""
        padded = np.r_[False, self._flags, False]
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def without(self, *others: NumberSet) -> NumberSet:
        """Return a new set of the numbers that are in none of the others."""
        result = NumberSet()
        result._flags = self._flags.copy()
        for other in others:
            size = min(len(result._flags), len(other._flags))
            result._flags[:size] &= ~other._flags[:size]
        return result

    def _reach(self, number: int) -> None:
        if number >= len(self._flags):
            grown = np.zeros(max(number + 1, 2 * len(self._flags)), bool)
            grown[: len(self._flags)] = self._flags
            self._flags = grown


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

    def claim(self, number: int | None, holder: Path | None = None) -> None:
        """Raise the number of emitted events to at least ``number``, which the file ``holder`` claims."""
        self.claimed = max(self.claimed, number or 0)
        self.holder = self.holder or holder


Counts = dict[str, Count]

"""Sets of event numbers, and the count of one session: what is stored, missing or there twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Spans = list[tuple[int, int]]


class NumberSet:
    """A set of event numbers, a byte each: 10 million events are 10 MB."""

    def __init__(self) -> None:
        self._flags: npt.NDArray[np.bool_] = np.zeros(1024, bool)

    def add(self, seq: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Take numbers in; return those that were there already."""
        if not len(seq):
            return seq
        self._reach(int(seq.max()))
        known: npt.NDArray[Any] = seq[self._flags[seq]]
        self._flags[seq] = True
        return known

    def add_span(self, first: int, last: int) -> None:
        """Take in ``first..last``."""
        self._reach(last)
        self._flags[first : last + 1] = True

    def add_all(self, other: NumberSet) -> None:
        """Take in all that are in ``other``."""
        for first, last in other.spans():
            self.add_span(first, last)

    def discard_upto(self, last: int) -> None:
        """Take ``1..last`` out."""
        self._flags[: last + 1] = False

    def count(self, upto: int) -> int:
        """Return how many of ``1..upto`` are in."""
        return int(np.count_nonzero(self._flags[1 : upto + 1]))

    def highest(self) -> int:
        """Return the highest number in, 0 if none."""
        found = np.flatnonzero(self._flags)
        return int(found[-1]) if len(found) else 0

    def spans(self) -> Spans:
        """Return the numbers as intervals."""
        padded = np.r_[False, self._flags, False]
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def without(self, *others: NumberSet) -> NumberSet:
        """Return those that are in none of the others."""
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
    """What is known of one session while its run is being counted."""

    stored: NumberSet = field(default_factory=NumberSet)
    bad: NumberSet = field(default_factory=NumberSet)
    doubled: NumberSet = field(default_factory=NumberSet)
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    pending: NumberSet = field(default_factory=NumberSet)
    claimed: int = 0
    in_log: int = 0  # the log had everything up to here
    rank: int = 0
    ended: bool = False
    holder: Path | None = None  # the first file found that holds points of it
    introduced: bool = False
    open_gap: str | None = None  # why more may have been emitted than anybody knows of

    def store(self, seq: npt.NDArray[Any]) -> None:
        """Count numbers as stored; those counted before are doubled."""
        self.doubled.add(self.stored.add(seq))

    def claim(self, number: int | None, holder: Path | None = None) -> None:
        """Raise ``n`` to at least this; ``holder`` is the file of points that says so."""
        self.claimed = max(self.claimed, number or 0)
        self.holder = self.holder or holder


Counts = dict[str, Count]

"""Sets of event numbers, for counting what is stored, missing or there twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Spans = list[tuple[int, int]]


class Numbers:
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

    def add_all(self, other: Numbers) -> None:
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

    def without(self, *others: Numbers) -> Numbers:
        """Return those that are in none of the others."""
        result = Numbers()
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

"""Downsamples a metric of many millions of points while it is read: memory does not grow with the run.

There are two passes over the pieces. The first counts points, and finds the steps at which each stretch has its
extremes. The second keeps these steps and a share of the others, which a hash of the step selects. So the steps
are the same for every rank and every metric, and ranks can still be united step by step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neural.tracking.formats.event_stream import Array
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.columns import ColumnPiece, Columns
from neural.tracking.reader.last_values import last_at_each
from neural.tracking.reader.points import PointFiles

DOWNSAMPLED_ABOVE = 1_500_000  # points; shorter metrics are not downsampled
KEPT_POINTS = 1_000_000  # approximately; half of it at the minimum
MEAN_STEPS = 1 << 23  # up to this step, the extremes of the ranks' mean are found
_EXTREMES_SHARE = 8  # at most one in so many kept points is kept because it is an extreme
_HASH = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash: spreads consecutive steps evenly


class Downsampled(NamedTuple):
    """A share of a metric's points, and the statistics of all of them.

    ``share``: one in ``2**share`` steps is kept, in addition to the extremes. It is 0 if points were selected
    by position instead of by step. ``points``, ``nan``, ``infinite``: counts of all values and of such values.
    """

    columns: Columns
    share: int
    points: int
    nan: int
    infinite: int
    mean: float  # of the finite values

    @property
    def even(self) -> Array:
        """A mask of the points that are part of the even share, without those kept only as extremes."""
        return spread(self.columns.step, self.share)


def spread(step: Array, share: int) -> Array:
    """Return a mask of the steps in a share of one in ``2**share``; a higher share is a subset of a lower."""
    if not share:
        return np.ones(len(step), bool)
    inside: Array = step.view(np.uint64) * _HASH < np.uint64(1 << (64 - share))
    return inside


def downsampled(files: PointFiles, name: str) -> Downsampled | None:
    """Return a metric downsampled; None if it has few points, or points without a step.

    Blocks: reads the metric twice from the disk.

    Raises:
        FormatError: a part is damaged where the points are.
    """
    room = files.room(name)
    if room <= DOWNSAMPLED_ABOVE:
        return None
    share = int(np.ceil(np.log2(room / KEPT_POINTS)))
    several = len(set(files.ranks.values())) > 1
    first_pass = _FirstPass(room, share, len(set(files.ranks.values())))
    for piece in files.pieces(name, timed=False):
        first_pass.add(piece)
    if first_pass.points <= DOWNSAMPLED_ABOVE or not first_pass.stepped:
        return None
    steps = first_pass.steps(several)
    # If few steps have many points each, a hash of the step would keep far too many points or none.
    by_place = not KEPT_POINTS / 8 < first_pass.kept < 2 * KEPT_POINTS

    def chosen(piece: ColumnPiece) -> ColumnPiece:
        if not len(piece.step):
            return piece
        if by_place:
            which = np.zeros(len(piece.value), bool)
            which[:: 1 << share] = True
            which[_extremes(piece.value, first_pass.stretch)] = True
            if several:  # for the mean, the last point of a rank at each step counts
                which[last_at_each(piece.step)] = True
        else:
            near = slice(*np.searchsorted(steps, [piece.step.min(), piece.step.max() + 1]))
            which = spread(piece.step, share) | np.isin(piece.step, steps[near])
        return piece.take(which)

    columns = files.joined(name, map(chosen, files.pieces(name, timed=False)), room, timed=False)
    counts = first_pass.points, first_pass.nan, first_pass.infinite
    return Downsampled(columns, 0 if by_place else share, *counts, first_pass.mean)


class _FirstPass:
    """Counts points, and collects the steps that must be kept."""

    def __init__(self, room: int, share: int, ranks: int) -> None:
        self.points = self.nan = self.infinite = self.kept = 0
        self.mean = 0.0
        self.stepped = True
        # Each stretch has two extremes, and all ranks' points at their steps are kept.
        self.stretch = max(64, 2 * ranks * room * _EXTREMES_SHARE // KEPT_POINTS)
        self._share = share
        self._steps: list[Array] = []
        self._ends: dict[str, tuple[int, int]] = {}
        self._sum = np.zeros(MEAN_STEPS)  # pages that are not written to cost nothing
        self._count = np.zeros(MEAN_STEPS, np.int32)

    def add(self, piece: ColumnPiece) -> None:
        if not len(piece.value):
            return
        finite = piece.value[np.isfinite(piece.value)]
        nan = int(np.count_nonzero(np.isnan(piece.value)))
        before = self.points - self.nan - self.infinite
        self.points += len(piece.value)
        self.nan += nan
        self.infinite += len(piece.value) - nan - len(finite)
        if len(finite):
            now = before + len(finite)  # dividing first avoids an overflow
            self.mean = self.mean * (before / now) + float(np.sum(finite / now))
        low, high = int(piece.step.min()), int(piece.step.max())
        self.stepped &= low != NO_STEP
        first, last = self._ends.get(piece.session, (low, high))
        self._ends[piece.session] = min(low, first), max(high, last)
        self.kept += int(np.count_nonzero(spread(piece.step, self._share)))
        self._steps.append(piece.step[_extremes(piece.value, self.stretch)])
        if low >= 0 and high < MEAN_STEPS:
            self._gather_mean(piece.step, piece.value)

    def _gather_mean(self, step: Array, value: Array) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.all(step[1:] > step[:-1]):  # the usual case, several times faster
                self._sum[step] += value
                self._count[step] += 1
            else:
                last = last_at_each(step)
                self._sum[step[last]] += value[last]
                self._count[step[last]] += 1

    def steps(self, several: bool) -> Array:
        """Return the steps to keep regardless of their hash: ends, extremes, extremes of the ranks' mean."""
        found = [*self._steps, np.array([end for ends in self._ends.values() for end in ends], np.int64)]
        if several:
            known = np.flatnonzero(self._count)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = self._sum[known] / self._count[known]
            found.append(known[_extremes(mean, max(64, 4 * len(known) * _EXTREMES_SHARE // KEPT_POINTS))])
        return np.unique(np.concatenate(found))


def _extremes(values: Array, stretch: int) -> Array:
    """Return the positions of the minimum and the maximum finite value of each stretch of values."""
    whole = len(values) // stretch * stretch
    blocks = values[:whole].reshape(-1, stretch)
    found = []
    for part, offset in ((blocks, 0), (values[whole:].reshape(1, -1), whole)):
        if part.size:
            starts = offset + np.arange(len(part)) * part.shape[1]
            finite = np.isfinite(part)
            found.append(starts + np.where(finite, part, np.inf).argmin(axis=1))
            found.append(starts + np.where(finite, part, -np.inf).argmax(axis=1))
    return np.concatenate(found) if found else np.empty(0, np.int64)

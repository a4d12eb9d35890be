"""Makes a metric of many millions of points short while it is read, so that memory does not grow with the run.

Two passes, a piece at a time. The first counts, and finds the steps at which each stretch has its extremes. The
second keeps these steps and, by a hash, a share of the others: the same steps for every rank and every metric,
so that ranks can still be united step by step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neural.tracking.formats.event_stream import Array
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.columns import ColumnPiece, Columns
from neural.tracking.reader.last_values import last_at_each
from neural.tracking.reader.points import PointFiles

SIFTED_ABOVE = 1_500_000  # points; fewer are read whole
KEPT_POINTS = 1_000_000  # about, and half of it at the least
MEAN_STEPS = 1 << 23  # up to this step the extremes of the mean of the ranks are found
_EXTREMES_SHARE = 8  # of what is kept, at most one in so many is there for being an extreme
_HASH = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash: spreads consecutive steps evenly


class Downsampled(NamedTuple):
    """A metric's points, or a share of them, and what all of them come to.

    ``share``: one of ``2**share`` steps is here beside the extremes, 0 for all of them.
    """

    columns: Columns
    share: int
    points: int
    nan: int
    infinite: int
    mean: float  # of the finite values

    @property
    def even(self) -> Array:
        """Which of the points are not here only for being extremes."""
        return spread(self.columns.step, self.share)


def spread(step: Array, share: int) -> Array:
    """Return which steps are among one in ``2**share``; those of a higher share are among those of a lower."""
    if not share:
        return np.ones(len(step), bool)
    inside: Array = step.view(np.uint64) * _HASH < np.uint64(1 << (64 - share))
    return inside


def sifted(files: PointFiles, name: str) -> Downsampled | None:
    """Return a metric's points made few; None where they are few already, or have no steps to choose by.

    Raises:
        FormatError: a part is damaged where the points are.
    """
    room = files.room(name)
    if room <= SIFTED_ABOVE:
        return None
    share = int(np.ceil(np.log2(room / KEPT_POINTS)))
    several = len(set(files.ranks.values())) > 1
    look = _FirstLook(room, share, len(set(files.ranks.values())))
    for piece in files.pieces(name, timed=False):
        look.add(piece)
    if look.points <= SIFTED_ABOVE or not look.stepped:
        return None
    steps = look.steps(several)
    # Where few steps hold many points, a hash of the step keeps far too many or none.
    by_place = not KEPT_POINTS / 8 < look.kept < 2 * KEPT_POINTS

    def chosen(piece: ColumnPiece) -> ColumnPiece:
        if not len(piece.step):
            return piece
        if by_place:
            which = np.zeros(len(piece.value), bool)
            which[:: 1 << share] = True
            which[_extremes(piece.value, look.stretch)] = True
            if several:  # of what a rank logged at one step, the last counts for the mean
                which[last_at_each(piece.step)] = True
        else:
            near = slice(*np.searchsorted(steps, [piece.step.min(), piece.step.max() + 1]))
            which = spread(piece.step, share) | np.isin(piece.step, steps[near])
        return piece.take(which)

    columns = files.joined(name, map(chosen, files.pieces(name, timed=False)), room, timed=False)
    return Downsampled(columns, 0 if by_place else share, look.points, look.nan, look.infinite, look.mean)


class _FirstLook:
    """Counts, and gathers the steps that must be kept."""

    def __init__(self, room: int, share: int, ranks: int) -> None:
        self.points = self.nan = self.infinite = self.kept = 0
        self.mean = 0.0
        self.stepped = True
        # The steps of an extreme are kept of every rank; two extremes a stretch.
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
            now = before + len(finite)  # in this order nothing overflows
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
            if np.all(step[1:] > step[:-1]):  # the usual case, and several times as fast
                self._sum[step] += value
                self._count[step] += 1
            else:
                last = last_at_each(step)
                self._sum[step[last]] += value[last]
                self._count[step[last]] += 1

    def steps(self, several: bool) -> Array:
        """Return the steps to keep whatever their hash: ends, extremes, those of the ranks' mean."""
        found = [*self._steps, np.array([end for ends in self._ends.values() for end in ends], np.int64)]
        if several:
            known = np.flatnonzero(self._count)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = self._sum[known] / self._count[known]
            found.append(known[_extremes(mean, max(64, 4 * len(known) * _EXTREMES_SHARE // KEPT_POINTS))])
        return np.unique(np.concatenate(found))


def _extremes(values: Array, stretch: int) -> Array:
    """Return where each stretch of so many values has its least and its greatest finite one."""
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

"""Reduces long series. Spikes, gaps and the range of the ranks remain visible."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neural.tracking.formats.event_stream import Array
from neural.tracking.reader.downsample import spread

FloatArray = npt.NDArray[np.float64]

MAX_POINTS = 2000  # a figure is about 2,000 pixels wide
BAND_POINTS = 500
STATISTICS_POINTS = 20_000  # a sample of this size is enough for percentiles and noise
SAMPLE_POINTS = 16_384


def thinned(x: Array, y: FloatArray, breaks: Array) -> tuple[FloatArray, FloatArray]:
    """Return about 2,000 of the points at most, with NaN between points that no line may join. Extremes remain.

    Args:
        x: the position of each point on the x axis.
        y: the values; values that are not finite are left out.
        breaks: indices before which the line is interrupted, in addition to where ``y`` is not finite.

    Source: Van Der Donckt et al., "MinMaxLTTB" (2023), as implemented in tsdownsample.
    """
    finite = np.isfinite(y)
    kept = None if finite.all() else np.flatnonzero(finite)
    holes = _holes(finite, len(y) // MAX_POINTS)
    values = np.ascontiguousarray(y if kept is None else y[kept])
    if len(values) > MAX_POINTS:
        from tsdownsample import MinMaxLTTBDownsampler

        picked = MinMaxLTTBDownsampler().downsample(_scaled_down(values), n_out=MAX_POINTS).astype(np.int64)
    else:
        picked = np.arange(len(values))
    kept = picked if kept is None else kept[picked]
    cuts = np.unique(np.searchsorted(kept, np.concatenate((holes, breaks)).astype(np.int64)))
    cuts = cuts[(cuts > 0) & (cuts < len(kept))]
    thin_x, thin_y = x[kept].astype(np.float64), y[kept].astype(np.float64)
    return np.insert(thin_x, cuts, np.nan), np.insert(thin_y, cuts, np.nan)


def enveloped(x: Array, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return at most 500 intervals: their middle, the minimum of ``low`` and the maximum of ``high``."""
    if len(x) <= BAND_POINTS:
        return x.astype(np.float64), low, high
    starts = np.linspace(0, len(x), BAND_POINTS, endpoint=False).astype(np.int64)
    ends = np.r_[starts[1:], len(x)]
    middle = x[(starts + ends - 1) // 2].astype(np.float64)
    middle[0], middle[-1] = x[0], x[-1]
    return middle, np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)


def smoothed(y: FloatArray) -> tuple[int, Array, FloatArray] | None:
    """Return the window in points, the indices and the moving averages of a noisy series, else None."""
    some = y[:: max(1, len(y) // STATISTICS_POINTS)]
    some = some[np.isfinite(some)]
    if len(some) < 300:
        return None
    low, high = np.quantile(some, (0.02, 0.98))
    spread = high / 4 - low / 4  # cannot overflow
    jitter = np.median(np.abs(np.diff(some / 4)))
    if not spread > 0 or jitter < 0.005 * spread or np.max(np.abs(some)) / 1e9 > spread:
        return None
    window = max(5, len(y) // 60)
    return window, *_moving_mean(y, window)


def sampled(step: Array, y: FloatArray) -> tuple[Array, FloatArray]:
    """Return about 16,000 steps at most with values, evenly spread; several values of a step are averaged.

    A hash of the step decides whether it is in the sample. So a shorter series has every sampled step of a
    longer one, if it has that step at all.
    """
    share = int(np.ceil(np.log2(max(1.0, len(step) / SAMPLE_POINTS))))
    if share:
        inside = spread(step, share)
        step, y = step[inside], y[inside]
    steps, first, counts = np.unique(step, return_index=True, return_counts=True)
    if len(steps) == len(step):
        return steps, y[first]
    order = np.argsort(step, kind="stable")
    bounds = np.r_[0, np.cumsum(counts)[:-1]]
    with np.errstate(over="ignore", invalid="ignore"):
        return steps, np.add.reduceat(y[order], bounds) / counts


def _holes(finite: Array, longest_unseen: int) -> Array:
    """Return the indices where sequences of more than ``longest_unseen`` missing values begin."""
    if finite.all():
        return np.empty(0, np.int64)
    edges = np.flatnonzero(np.diff(np.r_[True, finite, True]))
    starts, ends = edges[::2], edges[1::2]
    found: Array = starts[ends - starts > longest_unseen]
    return found


def _scaled_down(values: FloatArray) -> FloatArray:
    """Return the values, scaled if products of them could overflow."""
    top = max(abs(float(values.min())), abs(float(values.max())))
    return values if top < 1e100 else values * (1e100 / top)


def _moving_mean(y: FloatArray, window: int) -> tuple[Array, FloatArray]:
    """Return indices and the mean of the finite values around each; NaN where no value is finite."""
    finite = np.isfinite(y)
    whole = bool(finite.all())
    places = np.unique(np.linspace(0, len(y) - 1, MAX_POINTS // 2).astype(np.int64))
    start, end = np.maximum(places - window // 2, 0), np.minimum(places + window // 2 + 1, len(y))
    bounds, back = np.unique(np.concatenate((start, end)), return_inverse=True)
    start, end = back[: len(places)], back[len(places) :]

    def up_to(values: Array) -> Array:
        """Return the sum of the values before each bound; no other sums are needed."""
        return np.concatenate(([0], np.cumsum(np.add.reduceat(values, bounds[:-1]))))

    total = up_to(y if whole else np.where(finite, y, 0.0))
    number = bounds if whole else up_to(finite.astype(np.int64))
    count = number[end] - number[start]
    mean = (total[end] - total[start]) / np.maximum(count, 1)
    return places, np.where(count > 0, mean, np.nan)

"""Reduces curves to a size that can be sent and drawn, with all spikes, and smooths them."""

from __future__ import annotations

import math

import numpy as np

from neural.tracking.formats.event_stream import Array

_BLOCK = 64
_NO_FLOAT = -1460.0  # the largest float times e to this is smaller than the smallest float


def thin(values: Array, count: int) -> Array:
    """Return about ``count`` indices to draw: the first, the last, and minimum and maximum of every interval.

    Args:
        values: of the curve in the order of drawing; NaN and infinities remain only if all indices do.
        count: the number of indices; at least 4.
    """
    if len(values) <= count:
        return np.arange(len(values))
    real = np.isfinite(values)
    finite = None if real.all() else np.flatnonzero(real)
    if finite is not None and len(finite) <= count:
        return finite
    from tsdownsample import MinMaxDownsampler

    dense = values if finite is None else values[finite]
    n_out = max(4, count - count % 2)
    picked = MinMaxDownsampler().downsample(np.ascontiguousarray(dense), n_out=n_out).astype(np.int64)
    ends = np.array([0, len(dense) - 1])
    found: Array = np.union1d(picked, ends)
    return found if finite is None else finite[found]


def memory(weight: float) -> int:
    """Return for how many values back a value affects the moving mean; then its weight is below any float."""
    return math.ceil(_NO_FLOAT / math.log(weight)) if weight > 0 else 0


def smoothed(values: Array, weight: float) -> Array:
    """Return the exponential moving mean, corrected for the bias of its start; NaN remains NaN.

    Args:
        weight: of the past, ``0 <= weight < 1``.
    """
    if weight <= 0 or not len(values):
        return values
    real = np.isfinite(values)
    if real.all():  # the sum of the weights is then known in closed form
        count = -np.expm1(np.log(weight) * np.arange(1, len(values) + 1)) / (1 - weight)
        whole: Array = _decayed_sum(values, weight) / count
        return whole
    total = _decayed_sum(np.where(real, values, 0.0), weight)
    count = _decayed_sum(real.astype(float), weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    mean[~real] = np.nan
    return mean


def _decayed_sum(values: Array, weight: float) -> Array:
    """Return ``y[i] = weight * y[i-1] + values[i]``, computed in blocks as a product of matrices."""
    padded = np.zeros(-(-len(values) // _BLOCK) * _BLOCK)
    padded[: len(values)] = values
    blocks = padded.reshape(-1, _BLOCK)
    places = np.arange(_BLOCK)
    age = places[:, None] - places[None, :]
    kernel = np.where(age >= 0, weight ** np.maximum(age, 0), 0.0)
    within = blocks @ kernel.T
    whole = weight**_BLOCK
    carried = np.empty(len(blocks))
    carry = 0.0
    for number, last in enumerate(within[:, -1].tolist()):
        carried[number] = carry
        carry = whole * carry + last
    result: Array = (within + carried[:, None] * weight ** (places + 1)).ravel()[: len(values)]
    return result

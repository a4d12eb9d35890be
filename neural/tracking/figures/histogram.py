"""How often which values came: counts over equally wide bins, on a linear or a logarithmic scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neural.tracking.figures.reduce import Array, FloatArray

MOST_BINS, FEWEST_BINS = 60, 8


class Histogram(NamedTuple):
    """Counts between edges; ``log`` where the bins are equally wide in decades."""

    edges: FloatArray
    counts: Array
    log: bool


def histogram(finite: FloatArray, scale: str) -> Histogram | None:
    """Return the histogram of finite values, None where all of them are one value, or there are none."""
    if not len(finite) or finite.min() == finite.max():
        return None
    log = scale == "log"
    values = np.log10(finite) if log else finite
    low, high = float(values.min()), float(values.max())
    # Scaled to the unit interval, in quarters, so that neither 1e308 nor 1e-320 overflows.
    width = high / 4 - low / 4
    if width == 0 or not np.isfinite(4.0 / width):
        return None
    bins = _bins(len(finite))
    places = (values / 4 - low / 4) / width
    counts = np.histogram(places, bins, (0.0, 1.0))[0]
    edges = (low / 4 + width * np.linspace(0.0, 1.0, bins + 1)) * 4
    return Histogram(10.0**edges if log else edges, counts, log)


def _bins(points: int) -> int:
    return int(min(MOST_BINS, max(FEWEST_BINS, np.ceil(2 * np.cbrt(points)))))

"""The correlation of metrics: Pearson's r of every pair over the steps that both have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from neural.tracking.figures.axes import beside, note_in, title_of
from neural.tracking.figures.reduce import FloatArray
from neural.tracking.figures.series import Series
from neural.tracking.figures.style import FAINT, INK
from neural.tracking.figures.texts import MINUS, distinct_texts, text_width
from neural.tracking.formats.event_stream import Array

MAX_METRICS = 40
MAX_NUMBERS = 16  # with more metrics, the cells are too small for numbers
MIN_STEPS = 3

# Blue to orange through white: people with any common colour deficiency can distinguish the ends.
_DIVERGING = LinearSegmentedColormap.from_list("r", ["#08519c", "#6baed6", "#ffffff", "#fdae6b", "#a63603"])


def correlations(series: Sequence[Series]) -> FloatArray:
    """Return the matrix of Pearson's r; NaN if a pair has fewer than three common steps, or one is constant."""
    steps = np.unique(np.concatenate([one.sample[0] for one in series]))
    values = np.full((len(series), len(steps)), np.nan)
    for row, one in enumerate(series):
        values[row, np.searchsorted(steps, one.sample[0])] = one.sample[1]
    values[~np.isfinite(values)] = np.nan
    known = ~np.isnan(values)
    values = _standardised(values, known)
    mask = known.astype(np.float64)
    count = mask @ mask.T
    total, square = values @ mask.T, (values**2) @ mask.T
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = values @ values.T - total * total.T / count
        spread = square - total**2 / count
        spread[spread < 1e-12 * np.maximum(count, 1)] = np.nan
        r = covariance / np.sqrt(spread * spread.T)
    r[count < MIN_STEPS] = np.nan
    clipped: FloatArray = np.clip(r, -1.0, 1.0)
    return clipped


def _standardised(values: FloatArray, known: Array) -> FloatArray:
    """Return each row with mean 0 and standard deviation 1, 0 where the value is unknown; without overflow."""
    top = np.max(np.where(known, np.abs(values), 0.0), axis=1, keepdims=True)
    scaled = np.where(known, values, 0.0) / np.where(top > 0, top, 1.0)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, scaled - scaled.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    result: FloatArray = centred / np.where(spread > 1e-12, spread, np.inf)
    return result


def correlation(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure of the correlation matrix of at most the first forty metrics with finite values."""
    usable = [one for one in series if one.finite]
    chosen = usable[:MAX_METRICS]
    cell = 0.62 if len(chosen) <= 8 else 0.46 if len(chosen) <= MAX_NUMBERS else 0.24
    names = distinct_texts([one.name for one in chosen], 28)
    label = 0.2 + max((text_width(name) for name in names), default=10) * 0.088
    side = max(cell * len(chosen), 2.2)
    figure = Figure(figsize=figsize or (label + side + 1.6, 0.75 + side + label * 0.66 + 0.2))
    width, height = figure.get_size_inches()
    left = min(label, 0.4 * width)
    side = max(0.5, min(width - left - 1.3, height - 0.75 - left * 0.66 - 0.2))
    top = height - 0.75 - side
    axes = figure.add_axes((left / width, top / height, side / width, side / height))
    title_of(figure, title, remark, left=0.2)
    if len(chosen) < 2:
        note_in(axes, "a correlation needs two metrics")
        return figure
    _draw(axes, correlations(chosen), names)
    _scale(figure, (left + side + 0.2) / width, top / height, side / height, width)
    number = "" if len(chosen) == len(series) else f"{len(chosen)} of {len(series)} metrics; "
    beside(axes, f"{number}Pearson's r over the steps that both have", (0, 1), 6, fontsize=7.5, color=FAINT)
    return figure


def _draw(axes: Axes, r: FloatArray, names: Sequence[str]) -> None:
    axes.set_facecolor("#eaeef2")
    axes.imshow(np.ma.masked_invalid(r), cmap=_DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    places = range(len(names))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.tick_params(length=0, labelsize=8 if len(names) <= MAX_NUMBERS else 7, labelcolor=INK)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.hlines(np.arange(len(names) + 1) - 0.5, -0.5, len(names) - 0.5, color="white", linewidth=1.5)
    axes.vlines(np.arange(len(names) + 1) - 0.5, -0.5, len(names) - 0.5, color="white", linewidth=1.5)
    if len(names) > MAX_NUMBERS:
        return
    for row in places:
        for column in places:
            value = r[row, column]
            text = "–" if np.isnan(value) else f"{value:.2f}".replace("-", MINUS)
            colour = "white" if abs(value) > 0.7 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)


def _scale(figure: Figure, left: float, bottom: float, height: float, width_in: float) -> None:
    axes = figure.add_axes((left, bottom, 0.14 / width_in, height))
    axes.imshow(np.linspace(1, -1, 256)[:, None], cmap=_DIVERGING, aspect="auto", extent=(0, 1, -1, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([-1, 0, 1], [f"{MINUS}1  opposite", "0", "1  together"])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)

"""Figures of metrics: one panel for each quantity, a band where ranks differ; matplotlib at first use.

Colours are Okabe and Ito's, which people with any of the common colour deficiencies tell apart; each
line also has its own dash pattern once a panel holds more than the palette, and a label at its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

# Okabe and Ito, "Color Universal Design" (2008), without black and without the pale yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":")
SPLITS = ("train", "training", "val", "valid", "validation", "test", "eval")
MAX_POINTS = 4000  # a figure is at most some 2,000 pixels wide
_INK, _FAINT, _PALE = "#24292f", "#57606a", "#d0d7de"


@dataclass(frozen=True)
class Curve:
    """One metric against the step: its mean, and the least and greatest rank where there are several."""

    name: str
    step: npt.NDArray[np.int64]
    mean: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None


def plot_curves(
    curves: Sequence[Curve], *, title: str = "", figsize: tuple[float, float] | None = None
) -> Figure:
    """Return a figure with one panel for each quantity.

    Args:
        curves: metrics that differ only by a split (``train_loss``, ``val_loss``, ``test/loss``)
            share a panel.
        title: stands above all panels.
        figsize: inches; default grows with the number of panels.

    Blocks: the first call imports matplotlib, some 0.3 s.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = group_by_quantity(curves)
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 6 else 3
    rows = max(1, math.ceil(len(panels) / columns))
    # Figure, not pyplot: pyplot keeps every figure alive and picks a window toolkit.
    with mpl.rc_context(_style()):
        figure = Figure(figsize=figsize or (6.4 * columns, 3.4 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for panel, (quantity, members) in zip(axes, panels.items(), strict=False):
            _draw_panel(panel, quantity, members)
        for extra in figure.axes[len(panels) :]:
            extra.set_axis_off()
        if not panels:
            figure.text(0.5, 0.5, "no metrics logged yet", ha="center", va="center", color=_INK)
        if title:
            figure.suptitle(title, fontsize=12, fontweight="bold", color=_INK, x=0.01, ha="left")
    return figure


def group_by_quantity(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Return curves by what they measure: the name without its split."""
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(quantity_of(curve.name), []).append(curve)
    return panels


def quantity_of(name: str) -> str:
    """Return the name without a leading or trailing split: ``train_loss`` and ``loss/val`` are ``loss``."""
    for separator in ("/", "_", "-", "."):
        head, _, tail = name.partition(separator)
        if tail and head.lower() in SPLITS:
            return tail
        front, _, last = name.rpartition(separator)
        if front and last.lower() in SPLITS:
            return front
    return name


def curve_from_points(
    name: str, step: npt.NDArray[np.int64], value: FloatArray, rank: npt.NDArray[Any]
) -> Curve:
    """Return the curve of a metric's points: in logged order for one rank, else mean, min, max a step."""
    if len(np.unique(rank)) <= 1:
        return Curve(name, step, value)
    steps, index = np.unique(step, return_inverse=True)
    total = np.bincount(index, weights=value)
    count = np.bincount(index)
    low = np.full(len(steps), np.inf)
    high = np.full(len(steps), -np.inf)
    np.fmin.at(low, index, value)
    np.fmax.at(high, index, value)
    return Curve(name, steps, total / count, low, high)


def _draw_panel(axes: Axes, quantity: str, curves: Sequence[Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    remarks = []
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        dash = DASHES[(number // len(COLOURS)) % len(DASHES)]
        if curve.low is not None and curve.high is not None:
            keep = _thin(curve)
            axes.fill_between(
                curve.step[keep], curve.low[keep], curve.high[keep], color=colour, alpha=0.25, linewidth=0
            )
            remarks.append("band: least to greatest rank")
        window = _smoothing_window(curve)
        bold = curve if window == 1 else Curve(curve.name, curve.step, _moving_mean(curve.mean, window))
        if window > 1:
            if curve.low is None:
                keep = _thin(curve)
                axes.plot(curve.step[keep], curve.mean[keep], color=colour, alpha=0.3, linewidth=0.7, zorder=2)
            remarks.append(f"bold: mean of {window} points")
        keep = _thin(bold)
        lone = "o" if np.isfinite(bold.mean).sum() == 1 else None
        axes.plot(bold.step[keep], bold.mean[keep], dash, color=colour, label=curve.name, marker=lone, zorder=3)
    axes.set_title(quantity if len(curves) > 1 else curves[0].name, loc="left")
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    if _spans_decades(curves):
        axes.set_yscale("log")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=2 if len(curves) > 4 else 1)
    if remarks:
        told = "   ".join(sorted(set(remarks))[:2])
        axes.annotate(told, (1, 1.02), xycoords="axes fraction", ha="right", fontsize=7, color=_FAINT)


def _smoothing_window(curve: Curve) -> int:
    """Return over how many points a noisy curve is averaged; 1 where the eye needs no help."""
    finite = curve.mean[np.isfinite(curve.mean)]
    if len(finite) < 300 or finite.max() == finite.min():
        return 1
    jitter = np.median(np.abs(np.diff(finite))) / (
        np.percentile(finite, 98) - np.percentile(finite, 2) + 1e-300
    )
    return max(5, len(finite) // 60) if jitter > 0.005 else 1


def _moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Return the mean of the finite values around each point, NaN where there are none."""
    finite = np.isfinite(values)
    total = np.concatenate(([0.0], np.cumsum(np.where(finite, values, 0.0))))
    count = np.concatenate(([0], np.cumsum(finite)))
    places = np.arange(len(values))
    start, end = np.maximum(places - window // 2, 0), np.minimum(places + window // 2 + 1, len(values))
    number = count[end] - count[start]
    smooth = np.where(number > 0, (total[end] - total[start]) / np.maximum(number, 1), np.nan)
    smooth[~finite] = np.nan  # a hole stays a hole
    return smooth


def _thin(curve: Curve) -> npt.NDArray[Any]:
    """Return the indices to draw: all, or those that keep every visible spike (MinMaxLTTB)."""
    if len(curve.step) <= MAX_POINTS:
        return np.arange(len(curve.step))
    from tsdownsample import MinMaxLTTBDownsampler

    finite = np.flatnonzero(np.isfinite(curve.mean))
    if len(finite) <= MAX_POINTS:
        return finite
    picked = MinMaxLTTBDownsampler().downsample(np.ascontiguousarray(curve.mean[finite]), n_out=MAX_POINTS)
    kept: npt.NDArray[Any] = finite[picked.astype(np.int64)]
    return kept


def _spans_decades(curves: Sequence[Curve]) -> bool:
    """Whether all values are positive and most so far apart that a linear axis would hide them."""
    finite = np.concatenate([curve.mean[np.isfinite(curve.mean)] for curve in curves])
    if len(finite) < 5 or finite.min() <= 0:
        return False
    low, high = np.percentile(finite, (5, 95))
    return bool(high > 1000 * low)


def _style() -> dict[Any, Any]:
    from cycler import cycler

    return {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _PALE,
        "axes.labelcolor": _INK,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlecolor": _INK,
        "axes.labelsize": 9,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.useoffset": False,
        "grid.color": "#eaeef2",
        "xtick.color": _FAINT,
        "ytick.color": _FAINT,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "lines.linewidth": 1.6,
        "figure.facecolor": "white",
        "savefig.dpi": 150,
        "font.family": "sans-serif",
    }

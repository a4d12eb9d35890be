"""Draws series on axes: lines with gaps, bands of ranks, marked extremes, and the suitable scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from neural.tracking.figures.axes import beside, linear_axis, log_axis, symlog_axis
from neural.tracking.figures.series import Series, SeriesLine
from neural.tracking.figures.style import FAINT, INK
from neural.tracking.figures.texts import count, number, shown, text_width

FEW_POINTS = 30  # a line of at most so many points has a marker at each point
MIN_LINEAR = 1e-307  # the smallest linear part that a symlog axis can draw


def draw_series(axes: Axes, series: Series, *, label: str, style: dict[str, Any], noise: bool = True) -> None:
    """Draw one series in the colour and dashes of ``style``; a noisy one with its average in bold.

    ``noise=False`` draws only the average of a noisy series, for axes with many lines.
    """
    colour = style["color"]
    axes.autoscale(
        False
    )  # scale_x and scale_y set the limits; matplotlib's own limits overflow near the largest floats
    if series.band is not None:
        band = series.band
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.2, linewidth=0, zorder=1)
    if series.smooth is not None:
        if series.band is None and noise:
            axes.plot(*series.line, color=colour, alpha=0.3, linewidth=0.7, zorder=2)
        axes.plot(*series.smooth, **style, label=label, zorder=3)
        return
    axes.plot(*series.line, **style, label=label, zorder=3, marker=_marker(series.line), markersize=3)
    isolated = _isolated(series.line)
    if isolated.any():
        axes.plot(
            series.line.x[isolated],
            series.line.y[isolated],
            "o",
            color=colour,
            markersize=3.5,
            zorder=3,
            label="_",
        )


def mark_extremes(axes: Axes, series: Series) -> None:
    """Mark the maximum with a triangle that points up and the minimum with one that points down."""
    if series.level or series.finite < 2:
        return
    for point, marker in ((series.maximum, "^"), (series.minimum, "v")):
        if point is not None:
            axes.plot(
                [point.x], [point.y], marker, color=INK, markersize=6, zorder=5, clip_on=False,
                markeredgecolor="white", markeredgewidth=0.8, label="_",
            )  # fmt: skip


def extremes_text(series: Series) -> str:
    """Return the maximum, the minimum and the last value as one line of text."""
    if series.minimum is None or series.maximum is None or series.last is None:
        return ""
    if series.constant:
        return f"constant {number(series.minimum.y)}"
    if series.points == 1:
        return number(series.last.y)
    if series.level:
        return f"mean constant {number(series.minimum.y)}"
    low, high = number(series.minimum.y), number(series.maximum.y)
    if low == high:
        low, high = number(series.minimum.y, 16), number(series.maximum.y, 16)
    extremes = f"▲ {high} @ {count(series.maximum.x)}   ▼ {low} @ {count(series.minimum.x)}"
    return f"{extremes}   last {number(series.last.y)}"


def remarks_of(series: Series, *, smoothed: bool = True) -> list[str]:
    """Return short remarks on what the drawn line does not show."""
    found = []
    if series.points == 1:
        found.append("one point")
    if series.nan:
        found.append(f"{count(series.nan)} NaN left out")
    if series.infinite:
        found.append(f"{count(series.infinite)} infinite left out")
    if series.ranks is not None:
        found += series.ranks.remarks()
    if series.smooth is not None and smoothed:
        mean = "geometric mean" if series.scale == "log" else "mean"
        found.append(f"bold: {mean} of {count(series.window)} points")
    return found


def fitting(remarks: Sequence[str], letters: float) -> str:
    """Return as many remarks as fit into a width of ``letters``; the first one always, cut if necessary."""
    joined = ""
    for remark in remarks:
        longer = f"{joined}; {remark}" if joined else remark
        if joined and text_width(longer) > letters:
            break
        joined = longer
    return shown(joined, letters)


def why_empty(series: Series) -> str:
    """Return why the series cannot be drawn."""
    values = "the only value is" if series.points == 1 else f"all {count(series.points)} values are"
    if not series.points:
        return "nothing logged"
    if not series.infinite:
        return f"{values} NaN"
    return f"{values} infinite" if not series.nan else f"{values} NaN or infinite"


def scale_y(axes: Axes, drawn: Sequence[Series]) -> None:
    """Set the scale and the limits of the y axis to suit the values."""
    known = [series for series in drawn if series.minimum is not None and series.maximum is not None]
    if not known:
        return
    lows, highs = zip(*map(_span, known), strict=True)
    low, high = min(lows), max(highs)
    scales = {series.scale for series in known}
    if scales != {"linear"} and low > 0:
        log_axis(axes, "y", *_log_limits(low, high))
    elif scales != {"linear"}:
        top = max(abs(low), abs(high))
        within = min((series.linear_within for series in known if series.scale == "symlog"), default=top)
        within = min(max(within, top * 1e-12), top * 1e-3)  # three to twelve decades on each side
        within = max(within, MIN_LINEAR)
        symlog_axis(axes, *_symlog_limits(low, high), within)
    else:
        linear_axis(axes, "y")
        axes.set_ylim(*linear_limits(low, high))


def scale_x(axes: Axes, drawn: Sequence[Series], *, bins: int = 6) -> None:
    """Set the limits of the x axis, with ticks at whole steps."""
    linear_axis(axes, "x", bins=bins, steps=True)
    low = min((series.ends[0] for series in drawn), default=0.0)
    high = max((series.ends[1] for series in drawn), default=1.0)
    if high - low < 3:
        known = [series.line.x[np.isfinite(series.line.x)] for series in drawn]
        axes.set_xticks(np.unique(np.concatenate(known).round()) if known else [])
    margin = 0.02 * (high - low) or max(0.5, 1e-9 * abs(high))
    axes.set_xlim(low - margin, high + margin)


def x_label(drawn: Sequence[Series]) -> str:
    """Return the name of the x axis: ``step``, or ``call`` if no series has steps."""
    return "step" if any(series.has_steps for series in drawn) else "call"


def put_x_label(axes: Axes, label: str, remarks: str = "") -> None:
    """Write the name of the x axis below its right end, and the remarks below its left end."""
    beside(axes, label, (1, 0), -18, fontsize=8, color=FAINT)
    if remarks:
        beside(axes, remarks, (0, 0), -18, fontsize=7, color=FAINT)


def linear_limits(low: float, high: float) -> tuple[float, float]:
    """Return limits with a margin below ``low`` and above ``high``."""
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = 0.06 * (high - low)
    # If the values differ only in their last digits, all tick labels would be the same.
    room = max(room, 1e-12 * max(abs(low), abs(high)))
    return low - room, high + room


def _span(series: Series) -> tuple[float, float]:
    assert series.minimum is not None
    assert series.maximum is not None
    low, high = series.minimum.y, series.maximum.y
    if series.band is not None:
        with np.errstate(invalid="ignore"):
            finite = np.r_[series.band.low, series.band.high]
            finite = finite[np.isfinite(finite)]
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return low, high


def _log_limits(low: float, high: float) -> tuple[float, float]:
    first, last = math.log10(low), math.log10(high)
    room = 0.06 * (last - first) or 0.5
    return min(low, 10.0 ** max(first - room, -323.0)), max(high, 10.0 ** min(last + room, 308.0))


def _symlog_limits(low: float, high: float) -> tuple[float, float]:
    top = 1.7e308
    return max(-top, low * 3 if low < 0 else 0.0), min(top, high * 3 if high > 0 else 0.0)


def _marker(line: SeriesLine) -> str | None:
    return "o" if np.count_nonzero(np.isfinite(line.y)) <= FEW_POINTS else None


def _isolated(line: SeriesLine) -> Any:
    """Return a mask of the points without an adjacent point that a line could join them to."""
    gap = np.r_[True, ~np.isfinite(line.y), True]
    return ~gap[1:-1] & gap[:-2] & gap[2:]

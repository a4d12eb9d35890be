"""All metrics on one pair of axes: in their own units if their ranges are similar, else scaled to 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.figures.axes import linear_axis, note_in, title_of
from neural.tracking.figures.legend import legend_beside
from neural.tracking.figures.lines import draw_series, linear_limits, put_x_label, scale_x, scale_y, x_label
from neural.tracking.figures.reduce import FloatArray
from neural.tracking.figures.series import Point, Series, SeriesLine
from neural.tracking.figures.style import FAINT, line_style
from neural.tracking.figures.texts import number

MAX_LINES = 12
FEW_LINES = 3
SHARED_AXIS_RATIO = 20.0  # ranges can share an axis if the whole range is at most so many times the smallest
LEGEND_IN = 2.9


def combined(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure with a line for each series, at most for the first twelve that can be drawn."""
    drawn = [one for one in series if one.finite][:MAX_LINES]
    figure = Figure(figsize=figsize or (11.0, 5.6))
    width, height = figure.get_size_inches()
    legend_in = min(LEGEND_IN, width * 0.3)
    box = (0.72 / width, 0.55 / height, (width - 0.72 - legend_in) / width, (height - 1.25) / height)
    axes = figure.add_axes(box)
    title_of(figure, title, remark, left=0.72)
    if not drawn:
        note_in(axes, "nothing to draw" if series else "no metrics logged yet")
        return figure
    shared = _share_axis(drawn)
    for place, one in enumerate(drawn if shared else map(_in_own_range, drawn)):
        draw_series(axes, one, label=one.name, style=line_style(place), noise=len(drawn) <= FEW_LINES)
    scale_x(axes, drawn, bins=8)
    if shared:
        scale_y(axes, drawn)
    else:
        _own_range_axis(axes)
    put_x_label(axes, x_label(drawn), _remark(len(series), len(drawn), shared))
    names = [(one.name, _span_of(one)) for one in drawn]
    legend_beside(axes, names, [line_style(k) for k in range(len(drawn))], width_in=legend_in)
    return figure


def _remark(of: int, drawn: int, shared: bool) -> str:
    words = [] if drawn == of else [f"{drawn} of {of} metrics"]
    words += [] if shared else ["each line is scaled from the minimum to the maximum of its metric"]
    return "; ".join(words)


def _span_of(series: Series) -> str:
    assert series.minimum is not None
    assert series.maximum is not None
    if series.level:
        return f"{'' if series.constant else 'mean '}constant {number(series.minimum.y)}"
    return f"{number(series.minimum.y)} to {number(series.maximum.y)}"


def _share_axis(drawn: Sequence[Series]) -> bool:
    """Return whether every line is readable on one linear axis."""
    if len(drawn) == 1:
        return True
    if any(series.scale != "linear" for series in drawn):
        return False
    lows = np.array([series.minimum.y for series in drawn if series.minimum is not None])
    highs = np.array([series.maximum.y for series in drawn if series.maximum is not None])
    spans = (highs - lows)[highs > lows]
    whole = highs.max() - lows.min()
    return (
        bool(whole <= SHARED_AXIS_RATIO * spans.min())
        if len(spans)
        else bool(whole <= SHARED_AXIS_RATIO * np.abs(highs).max())
    )


def _in_own_range(series: Series) -> Series:
    """Return the series with its values scaled to 0 to 1, on its own linear or log scale."""
    assert series.minimum is not None
    assert series.maximum is not None
    log = series.scale == "log"

    def scaled(values: FloatArray) -> FloatArray:
        raw = np.log10(values) if log else values / 4
        low, high = (
            np.log10(p.y) if log else p.y / 4 for p in (series.minimum, series.maximum) if p is not None
        )
        return (raw - low) / (high - low) if high > low else np.full(len(raw), 0.5) + 0 * raw

    smooth = None if series.smooth is None else SeriesLine(series.smooth.x, scaled(series.smooth.y))
    line = SeriesLine(series.line.x, scaled(series.line.y))
    return replace(series, line=line, smooth=smooth, band=None, minimum=Point(0, 0.0), maximum=Point(0, 1.0))


def _own_range_axis(axes: Axes) -> None:
    linear_axis(axes, "y")
    axes.set_ylim(*linear_limits(0.0, 1.0))
    axes.set_yticks([0, 0.5, 1], ["min", "", "max"])
    axes.tick_params(axis="y", labelcolor=FAINT)

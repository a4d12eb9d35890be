"""All metrics over each other: in their own units where these are alike, else each in its own range."""

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
from neural.tracking.figures.style import FAINT, line_look
from neural.tracking.figures.texts import number

MOST_LINES = 12
FEW_LINES = 3
ALIKE = 20.0  # times: within it ranges can share an axis
LEGEND_IN = 2.9


def combined(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure with a line for each series, of many the first twelve."""
    drawn = [one for one in series if one.finite][:MOST_LINES]
    figure = Figure(figsize=figsize or (11.0, 5.6))
    width, height = figure.get_size_inches()
    legend_in = min(LEGEND_IN, width * 0.3)
    box = (0.72 / width, 0.55 / height, (width - 0.72 - legend_in) / width, (height - 1.25) / height)
    axes = figure.add_axes(box)
    title_of(figure, title, remark, left=0.72)
    if not drawn:
        note_in(axes, "nothing to draw" if series else "no metrics logged yet")
        return figure
    alike = _are_alike(drawn)
    for place, one in enumerate(drawn if alike else map(_in_own_range, drawn)):
        draw_series(axes, one, label=one.name, look=line_look(place), noise=len(drawn) <= FEW_LINES)
    scale_x(axes, drawn, bins=8)
    if alike:
        scale_y(axes, drawn)
    else:
        _own_range_axis(axes)
    put_x_label(axes, x_label(drawn), _remark(len(series), len(drawn), alike))
    names = [(one.name, _span_of(one)) for one in drawn]
    legend_beside(axes, names, [line_look(k) for k in range(len(drawn))], width_in=legend_in)
    return figure


def _remark(of: int, drawn: int, alike: bool) -> str:
    words = [] if drawn == of else [f"{drawn} of {of} metrics"]
    words += [] if alike else ["each line between the least and the greatest value of its own metric"]
    return "; ".join(words)


def _span_of(series: Series) -> str:
    assert series.least is not None
    assert series.most is not None
    if series.level:
        return f"{'' if series.constant else 'mean '}constant {number(series.least.y)}"
    return f"{number(series.least.y)} to {number(series.most.y)}"


def _are_alike(drawn: Sequence[Series]) -> bool:
    """Return whether all lines show their course on one linear axis."""
    if len(drawn) == 1:
        return True
    if any(series.scale != "linear" for series in drawn):
        return False
    lows = np.array([series.least.y for series in drawn if series.least is not None])
    highs = np.array([series.most.y for series in drawn if series.most is not None])
    spans = (highs - lows)[highs > lows]
    whole = highs.max() - lows.min()
    return bool(whole <= ALIKE * spans.min()) if len(spans) else bool(whole <= ALIKE * np.abs(highs).max())


def _in_own_range(series: Series) -> Series:
    """Return the series with its values moved into 0 to 1; on the scale its range asks for."""
    assert series.least is not None
    assert series.most is not None
    log = series.scale == "log"

    def moved(values: FloatArray) -> FloatArray:
        raw = np.log10(values) if log else values / 4
        low, high = (np.log10(p.y) if log else p.y / 4 for p in (series.least, series.most) if p is not None)
        return (raw - low) / (high - low) if high > low else np.full(len(raw), 0.5) + 0 * raw

    smooth = None if series.smooth is None else SeriesLine(series.smooth.x, moved(series.smooth.y))
    line = SeriesLine(series.line.x, moved(series.line.y))
    return replace(series, line=line, smooth=smooth, band=None, least=Point(0, 0.0), most=Point(0, 1.0))


def _own_range_axis(axes: Axes) -> None:
    linear_axis(axes, "y")
    axes.set_ylim(*linear_limits(0.0, 1.0))
    axes.set_yticks([0, 0.5, 1], ["least", "", "greatest"])
    axes.tick_params(axis="y", labelcolor=FAINT)

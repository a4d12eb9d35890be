"""Every metric in a panel of its own, least and greatest value marked; many metrics on several pages."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.figures.axes import beside, note_in, title_of
from neural.tracking.figures.grid import Margins, grid, letters_across
from neural.tracking.figures.lines import (
    draw_series,
    extremes_told,
    fitting,
    mark_extremes,
    put_x_label,
    remarks_of,
    scale_x,
    scale_y,
    why_empty,
    x_label,
)
from neural.tracking.figures.series import Series
from neural.tracking.figures.style import FAINT, line_look
from neural.tracking.figures.texts import shown


def individual(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return one page: a panel for each series, in the order given."""
    panel_in = (8.0, 4.4) if len(series) == 1 else (5.2, 3.1) if len(series) in (2, 4) else (4.2, 2.6)
    figure, places = grid(len(series), panel_in=panel_in, figsize=figsize, margins=Margins(top=0.55))
    for axes, one in zip(places, series, strict=True):
        draw_panel(axes, one)
    title_of(figure, title, remark)
    return figure


def draw_panel(axes: Axes, series: Series) -> None:
    """Draw one metric with its name, its extremes and what cannot be seen of it."""
    name_over(axes, series.name)
    if not series.finite:
        note_in(axes, why_empty(series))
        return
    draw_series(axes, series, label=series.name, look=line_look(0))
    mark_extremes(axes, series)
    scale_y(axes, [series])
    scale_x(axes, [series], bins=5)
    tell_over(axes, extremes_told(series))
    put_x_label(axes, x_label([series]), fitting(remarks_of(series), letters_across(axes, 7) - 8))


def name_over(axes: Axes, name: str) -> None:
    """Write a panel's name over its upper left corner, in the top line."""
    axes.set_title(shown(name, letters_across(axes, 11.5)), loc="left", y=1.0, pad=17)


def tell_over(axes: Axes, told: str) -> None:
    """Write values under the panel's name."""
    beside(axes, shown(told, letters_across(axes, 7.5)), (0, 1), 5, fontsize=7.5, color=FAINT)

"""Every metric in a panel of its own, with its minimum and maximum marked."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.figures.axes import beside, note_in, title_of
from neural.tracking.figures.grid import Margins, grid, letters_across
from neural.tracking.figures.lines import (
    draw_series,
    extremes_text,
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
from neural.tracking.figures.style import FAINT, line_style
from neural.tracking.figures.texts import shown


def individual(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return one page: a panel for each series, in this order."""
    panel_in = (8.0, 4.4) if len(series) == 1 else (5.2, 3.1) if len(series) in (2, 4) else (4.2, 2.6)
    figure, places = grid(len(series), panel_in=panel_in, figsize=figsize, margins=Margins(top=0.55))
    for axes, one in zip(places, series, strict=True):
        draw_panel(axes, one)
    title_of(figure, title, remark)
    return figure


def draw_panel(axes: Axes, series: Series) -> None:
    """Draw one metric with its name, its extremes and remarks."""
    panel_title(axes, series.name)
    if not series.finite:
        note_in(axes, why_empty(series))
        return
    draw_series(axes, series, label=series.name, style=line_style(0))
    mark_extremes(axes, series)
    scale_y(axes, [series])
    scale_x(axes, [series], bins=5)
    panel_subtitle(axes, extremes_text(series))
    put_x_label(axes, x_label([series]), fitting(remarks_of(series), letters_across(axes, 7) - 8))


def panel_title(axes: Axes, name: str) -> None:
    """Write the name of a panel above its upper left corner."""
    axes.set_title(shown(name, letters_across(axes, 11.5)), loc="left", y=1.0, pad=17)


def panel_subtitle(axes: Axes, text: str) -> None:
    """Write a text in small type below the name of a panel."""
    beside(axes, shown(text, letters_across(axes, 7.5)), (0, 1), 5, fontsize=7.5, color=FAINT)

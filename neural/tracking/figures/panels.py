"""One panel for each quantity: metrics that differ only by their split (train, val) share a panel."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.figures.axes import note_in, title_of
from neural.tracking.figures.grid import Margins, grid, letters_across
from neural.tracking.figures.individual import panel_subtitle, panel_title
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
from neural.tracking.figures.names import quantity_of
from neural.tracking.figures.series import Series
from neural.tracking.figures.style import figure_style, line_style
from neural.tracking.figures.texts import shown


def plot_panels(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure with one panel for each quantity.

    Args:
        series: metrics that differ only by a split (``train_loss``, ``val_loss``, ``test/loss``)
            share a panel.
        title, remark: text above all panels.
        figsize: width and height in inches; default: grows with the number of panels.
    """
    panels = group_by_quantity(series)
    panel_in = (8.0, 4.4) if len(panels) <= 1 else (5.2, 3.1) if len(panels) in (2, 4) else (4.2, 2.6)
    with figure_style():
        figure, places = grid(
            max(1, len(panels)), panel_in=panel_in, figsize=figsize, margins=Margins(top=0.55)
        )
        if not panels:
            note_in(next(places), "no metrics logged yet")
        for axes, (quantity, members) in zip(places, panels.items(), strict=False):
            _draw_panel(axes, quantity, members)
        title_of(figure, title, remark)
    return figure


def group_by_quantity(series: Sequence[Series]) -> dict[str, list[Series]]:
    """Return the series by quantity, which is the name without its split."""
    panels: dict[str, list[Series]] = {}
    for one in series:
        panels.setdefault(quantity_of(one.name), []).append(one)
    return panels


def _draw_panel(axes: Axes, quantity: str, members: Sequence[Series]) -> None:
    panel_title(axes, quantity if len(members) > 1 else members[0].name)
    drawn = [one for one in members if one.finite]
    if not drawn:
        note_in(axes, why_empty(members[0]))
        return
    for place, one in enumerate(drawn):
        draw_series(axes, one, label=shown(one.name, 24), style=line_style(place))
    scale_y(axes, drawn)
    scale_x(axes, drawn)
    remarks = list(dict.fromkeys(remark for one in drawn for remark in remarks_of(one)))
    put_x_label(axes, x_label(drawn), fitting(remarks, letters_across(axes, 7) - 8))
    if len(drawn) > 1:
        axes.legend(loc="best", ncols=2 if len(drawn) > 4 else 1)
    else:
        mark_extremes(axes, drawn[0])
        panel_subtitle(axes, extremes_text(drawn[0]))

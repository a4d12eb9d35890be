"""Places panels in a grid with margins in inches, so that panels are aligned whatever their labels are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

TITLE_IN = 0.42  # above the panels of a figure with a title


class Margins(NamedTuple):
    """Inches around the axes of one panel, for tick labels, title and remarks."""

    left: float = 0.62
    right: float = 0.22
    top: float = 0.52
    bottom: float = 0.52


def columns_for(panels: int) -> int:
    """Return the number of columns for so many panels."""
    return 1 if panels <= 1 else 2 if panels in (2, 4) else 3 if panels <= 12 else 4


def grid(
    panels: int,
    *,
    panel_in: tuple[float, float],
    figsize: tuple[float, float] | None = None,
    columns: int | None = None,
    margins: Margins = Margins(),  # noqa: B008 - immutable
    titled: bool = True,
) -> tuple[Figure, Iterator[Axes]]:
    """Return a figure and an iterator that makes the axes of ``panels`` panels, row by row.

    Args:
        panels: the number of panels.
        panel_in: width and height of a panel in inches with its margins, if there is no ``figsize``.
        figsize: width and height of the figure in inches.
        columns: default: as in :func:`columns_for`.
        margins: around the axes of each panel.
        titled: whether to leave room for a title above.
    """
    across = columns or columns_for(panels)
    down = max(1, math.ceil(panels / across))
    above = TITLE_IN if titled else 0.0
    width, height = figsize or (panel_in[0] * across, panel_in[1] * down + above)
    figure = Figure(figsize=(width, height))
    return figure, _axes(figure, panels, across, down, margins, above)


def _axes(
    figure: Figure, panels: int, across: int, down: int, margins: Margins, above: float
) -> Iterator[Axes]:
    width, height = figure.get_size_inches()
    wide, high = width / across, (height - above) / down
    inner_w = max(wide - margins.left - margins.right, 0.3 * wide)
    inner_h = max(high - margins.top - margins.bottom, 0.3 * high)
    for number in range(panels):
        row, column = divmod(number, across)
        left = column * wide + margins.left
        bottom = height - above - (row + 1) * high + margins.bottom
        yield figure.add_axes((left / width, bottom / height, inner_w / width, inner_h / height))


def letters_across(axes: Axes, size_pt: float) -> float:
    """Return the approximate number of average letters of ``size_pt`` points that fit over the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width_in = figure.get_size_inches()[0] * axes.get_position().width
    return float(width_in * 72 / (size_pt * 0.6))

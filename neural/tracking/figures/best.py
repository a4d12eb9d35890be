"""The best value each run reached, metric by metric, as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.core.metric_direction import Direction, better
from neural.tracking.figures.axes import linear_axis, note_figure, title_of
from neural.tracking.figures.grid import Margins, grid
from neural.tracking.figures.individual import name_over, tell_over
from neural.tracking.figures.style import ACCENT, FAINT, INK, PALE, house_style
from neural.tracking.figures.texts import number, told_apart

MOST_METRICS = 12
MOST_RUNS = 24
TITLE = "Best values"
TOLD = {
    "min": "smaller is better",
    "max": "greater is better",
    None: "last values; which is better is not known",
}


def best_metrics(
    best: Mapping[str, Sequence[float | None]],
    labels: Sequence[str],
    *,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure with a panel for each metric and a bar for each run, the best one in colour.

    No bar is coloured where the metric's name does not tell which way is better; the panel says so.

    Args:
        best: by metric, each run's best value, None where it has none; the last, where which is best is
            not known.
        labels: what each run is called.
        figsize: inches; default grows with what there is.
    """
    chosen = sorted(best, key=lambda name: better(name) is None)[:MOST_METRICS]
    with house_style():
        if not chosen:
            return note_figure("no metrics logged yet", title=TITLE, figsize=figsize)
        rows = min(len(labels), MOST_RUNS)
        margins = Margins(left=1.75, right=0.75, top=0.55, bottom=0.2)
        columns = 1 if len(chosen) == 1 else 2 if len(chosen) <= 4 else 3
        figure, places = grid(
            len(chosen),
            panel_in=(5.4 if columns < 3 else 4.6, 0.85 + 0.27 * max(rows, 2)),
            figsize=figsize,
            columns=columns,
            margins=margins,
        )
        for axes, name in zip(places, chosen, strict=True):
            which = _leading(best[name], direction=better(name))
            _draw(axes, name, [best[name][place] for place in which], [labels[place] for place in which])
        left_out = [f"{len(chosen)} of {len(best)} metrics"] if len(best) > len(chosen) else []
        left_out += [f"the best {rows} of {len(labels)} runs"] if len(labels) > rows else []
        title_of(figure, TITLE, ", ".join(left_out), left=0.2)
    return figure


def _leading(values: Sequence[float | None], *, direction: Direction | None) -> list[int]:
    """Return which runs are drawn, in the order given: of too many those with the best values, or with any."""

    def worth(place: int) -> float:
        value = values[place]
        if value is None or not math.isfinite(value):
            return math.inf
        return {"min": value, "max": -value, None: 0.0}[direction]

    return sorted(sorted(range(len(values)), key=worth)[:MOST_RUNS])


def _draw(axes: Axes, name: str, values: Sequence[float | None], labels: Sequence[str]) -> None:
    """Draw one metric's bars, the first run on top."""
    direction = better(name)
    known = [value if value is not None and math.isfinite(value) else None for value in values]
    real = [value for value in known if value is not None]
    name_over(axes, name)
    tell_over(axes, TOLD[direction])
    winner = None if not real or direction is None else min(real) if direction == "min" else max(real)
    longest = max((abs(value) for value in real), default=1.0) or 1.0
    for place, value in enumerate(known):
        if value is None:
            axes.text(0, place, "  none", va="center", fontsize=8, color=FAINT)
            continue
        won = value == winner
        axes.barh(place, value / longest, 0.62, color=ACCENT if won else PALE)
        axes.annotate(
            number(value), (max(0.0, value / longest), place), (4, 0), textcoords="offset points",
            va="center", ha="left", fontsize=8, annotation_clip=False,
            fontweight="bold" if won else "normal", color=INK if won else FAINT,
        )  # fmt: skip
    linear_axis(axes, "x")
    shares = [value / longest for value in real]
    axes.set_xlim(min([0.0, *shares]), max([0.0, *shares]) or 1.0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks(range(len(labels)), told_apart(labels, 20))
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(False)  # the names stand at the edge, also beside bars below zero
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.tick_params(axis="y", labelcolor=INK)

"""The best value of each run, as bars, with a panel for each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.core.metric_direction import Direction, better
from neural.tracking.figures.axes import linear_axis, note_figure, title_of
from neural.tracking.figures.grid import Margins, grid
from neural.tracking.figures.individual import panel_subtitle, panel_title
from neural.tracking.figures.style import ACCENT, FAINT, INK, PALE, figure_style
from neural.tracking.figures.texts import distinct_texts, number

MAX_METRICS = 12
MAX_RUNS = 24
TITLE = "Best values"
SUBTITLES = {
    "min": "smaller is better",
    "max": "greater is better",
    None: "last values; the better direction is unknown",
}


def best_metrics(
    best: Mapping[str, Sequence[float | None]],
    labels: Sequence[str],
    *,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure with a panel for each metric and a bar for each run, the best one in colour.

    If the metric's name does not say which direction is better, no bar is coloured, and the panel says so.

    Args:
        best: by metric, the best value of each run, or its last value if the better direction is unknown;
            None if the run has no value.
        labels: the name of each run.
        figsize: width and height in inches; default: grows with the numbers of metrics and runs.
    """
    chosen = sorted(best, key=lambda name: better(name) is None)[:MAX_METRICS]
    with figure_style():
        if not chosen:
            return note_figure("no metrics logged yet", title=TITLE, figsize=figsize)
        rows = min(len(labels), MAX_RUNS)
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
            which = _best_runs(best[name], direction=better(name))
            _draw(axes, name, [best[name][place] for place in which], [labels[place] for place in which])
        left_out = [f"{len(chosen)} of {len(best)} metrics"] if len(best) > len(chosen) else []
        left_out += [f"the best {rows} of {len(labels)} runs"] if len(labels) > rows else []
        title_of(figure, TITLE, ", ".join(left_out), left=0.2)
    return figure


def _best_runs(values: Sequence[float | None], *, direction: Direction | None) -> list[int]:
    """Return the indices of at most 24 runs in order: those with the best values, or with any finite value."""

    def sort_key(place: int) -> float:
        value = values[place]
        if value is None or not math.isfinite(value):
            return math.inf
        return {"min": value, "max": -value, None: 0.0}[direction]

    return sorted(sorted(range(len(values)), key=sort_key)[:MAX_RUNS])


def _draw(axes: Axes, name: str, values: Sequence[float | None], labels: Sequence[str]) -> None:
    """Draw the bars of one metric, the first run on top."""
    direction = better(name)
    known = [value if value is not None and math.isfinite(value) else None for value in values]
    real = [value for value in known if value is not None]
    panel_title(axes, name)
    panel_subtitle(axes, SUBTITLES[direction])
    best = None if not real or direction is None else min(real) if direction == "min" else max(real)
    longest = max((abs(value) for value in real), default=1.0) or 1.0
    for place, value in enumerate(known):
        if value is None:
            axes.text(0, place, "  none", va="center", fontsize=8, color=FAINT)
            continue
        is_best = value == best
        axes.barh(place, value / longest, 0.62, color=ACCENT if is_best else PALE)
        axes.annotate(
            number(value), (max(0.0, value / longest), place), (4, 0), textcoords="offset points",
            va="center", ha="left", fontsize=8, annotation_clip=False,
            fontweight="bold" if is_best else "normal", color=INK if is_best else FAINT,
        )  # fmt: skip
    linear_axis(axes, "x")
    shares = [value / longest for value in real]
    axes.set_xlim(min([0.0, *shares]), max([0.0, *shares]) or 1.0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks(range(len(labels)), distinct_texts(labels, 20))
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(False)  # the names are at the edge, also for bars below zero
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.tick_params(axis="y", labelcolor=INK)

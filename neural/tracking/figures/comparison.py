"""One metric of several runs on one pair of axes, one line for each run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from neural.tracking.core.metric_direction import better
from neural.tracking.figures.axes import note_in, title_of
from neural.tracking.figures.legend import legend_beside
from neural.tracking.figures.lines import draw_series, put_x_label, scale_x, scale_y, why_empty, x_label
from neural.tracking.figures.series import Series
from neural.tracking.figures.style import figure_style, line_style
from neural.tracking.figures.texts import count, number

MAX_LINES = 24
LEGEND_IN = 3.0
FEW_LINES = 4


def compare_metric(
    name: str, runs: Sequence[tuple[str, Series | None]], *, figsize: tuple[float, float] | None = None
) -> Figure:
    """Return a figure of one metric.

    Args:
        name: the name of the metric.
        runs: (label, series) of each run; None if the run never logged the metric. Up to 24 runs have the
            same colours in every figure of the same runs.
        figsize: width and height in inches.
    """
    chosen = [(place, label, series) for place, (label, series) in enumerate(runs) if series and series.points]
    drawn = _leading(name, [one for one in chosen if one[2].finite])
    # There are 24 styles. If there are more runs, the drawn ones take the styles in order.
    styles = [line_style(k if len(runs) > MAX_LINES else place) for k, (place, _, _) in enumerate(drawn)]
    with figure_style():
        figure = Figure(figsize=figsize or (11.0, 5.0))
        width, height = figure.get_size_inches()
        legend_in = min(LEGEND_IN, 0.32 * width)
        box = (0.72 / width, 0.55 / height, (width - 0.72 - legend_in) / width, (height - 1.2) / height)
        axes = figure.add_axes(box)
        first = "the best " if better(name) else "the first "
        best = first if len(drawn) == MAX_LINES < len(runs) else ""
        title_of(figure, name, f"{best}{len(drawn)} of {len(runs)} runs", left=0.72)
        if not drawn:
            note_in(axes, why_empty(chosen[0][2]) if chosen else "no run logged it")
            return figure
        for style, (_, label, series) in zip(styles, drawn, strict=True):
            draw_series(axes, series, label=label, style=style, noise=len(drawn) <= FEW_LINES)
        all_series = [series for _, _, series in drawn]
        scale_y(axes, all_series)
        scale_x(axes, all_series, bins=8)
        put_x_label(axes, x_label(all_series), _remark(all_series))
        names = [(label, _best_of(name, series)) for _, label, series in drawn]
        legend_beside(axes, names, styles, width_in=legend_in)
    return figure


def _leading(name: str, runs: Sequence[tuple[int, str, Series]]) -> list[tuple[int, str, Series]]:
    """Return at most 24 runs in the same order: those with the best values, or the first if best is unknown."""
    direction = better(name)

    def sort_key(run: tuple[int, str, Series]) -> float:
        point = run[2].minimum if direction == "min" else run[2].maximum
        assert point is not None  # it has finite values
        return point.y if direction == "min" else -point.y

    if direction is None:
        return list(runs[:MAX_LINES])
    return sorted(sorted(runs, key=sort_key)[:MAX_LINES], key=lambda run: run[0])


def _best_of(name: str, series: Series) -> str:
    of = {"min": (series.minimum, "min"), "max": (series.maximum, "max"), None: (series.last, "last")}
    point, word = of[better(name)]
    if point is None:
        return ""
    return f"{word} {number(point.y)} at {count(point.x)}"


def _remark(drawn: Sequence[Series]) -> str:
    words = ["bold: moving mean"] if any(series.smooth is not None for series in drawn) else []
    words += ["band: minimum to maximum over ranks"] if any(series.band is not None for series in drawn) else []
    return "; ".join(words)

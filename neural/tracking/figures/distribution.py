"""A histogram of the values of each metric, with its mean."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural.tracking.figures.axes import linear_axis, log_axis, note_in, title_of
from neural.tracking.figures.grid import Margins, grid, letters_across
from neural.tracking.figures.individual import panel_subtitle, panel_title
from neural.tracking.figures.lines import remarks_of, why_empty
from neural.tracking.figures.series import Series
from neural.tracking.figures.style import ACCENT, INK
from neural.tracking.figures.texts import count, number, shown


def distributions(
    series: Sequence[Series],
    *,
    title: str = "",
    remark: str = "",
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Return one page: a histogram for each series, in this order."""
    panel_in = (8.0, 4.4) if len(series) == 1 else (5.2, 3.1) if len(series) in (2, 4) else (4.2, 2.4)
    figure, places = grid(
        len(series), panel_in=panel_in, figsize=figsize, margins=Margins(top=0.55, bottom=0.46)
    )
    for axes, one in zip(places, series, strict=True):
        draw_distribution(axes, one)
    title_of(figure, title, remark)
    return figure


def draw_distribution(axes: Axes, series: Series) -> None:
    """Draw the histogram of one metric, with a line at its mean."""
    panel_title(axes, series.name)
    if not series.finite or series.minimum is None:
        note_in(axes, why_empty(series))
        return
    panel_subtitle(axes, _subtitle(series))
    found = series.histogram
    if found is None:
        _one_value(axes, series)
        return
    axes.autoscale(False)
    axes.stairs(found.counts, found.edges, fill=True, color=ACCENT, alpha=0.55, linewidth=0)
    axes.axvline(series.mean, color=INK, linewidth=1.4, label="mean")
    axes.grid(False, axis="x")
    linear_axis(axes, "y", bins=4, steps=True)
    axes.set_ylim(0, float(found.counts.max()) * 1.08)
    if found.log:
        log_axis(axes, "x", float(found.edges[0]), float(found.edges[-1]))
    else:
        linear_axis(axes, "x", bins=5)
        axes.set_xlim(float(found.edges[0]), float(found.edges[-1]))


def _subtitle(series: Series) -> str:
    if series.constant:
        return ""
    words = [f"┃ mean {number(series.mean)}", f"{count(series.finite)} values"]
    words += [remark for remark in remarks_of(series, smoothed=False) if "left out" in remark]
    return "   ".join(words)


def _one_value(axes: Axes, series: Series) -> None:
    """Write the values as a text: a histogram of one value would only be a block."""
    assert series.minimum is not None
    assert series.maximum is not None
    times = "one value" if series.finite == 1 else f"{count(series.finite)} values"
    if series.constant:
        text = f"{times}: {number(series.minimum.y)}"
    else:
        text = f"{times} from {number(series.minimum.y)} to {number(series.maximum.y)}"
    note_in(axes, shown(text, letters_across(axes, 9)))

"""Figures of the relation of parameters to a metric: parallel coordinates, scatter plots, correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from neural.tracking.ui import palette
from neural.tracking.ui.charts import Figure, Member, layout
from neural.tracking.ui.palette import Theme
from neural.tracking.ui.text import for_plot, number


def parallel(
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
    goal: Sequence[float],
    runs: Sequence[str],
    title: str,
    theme: Theme,
    *,
    inside: Sequence[bool],
    min_is_best: bool = False,
) -> Figure:
    """Return parallel coordinates: a line for each run, an axis for each parameter, the metric at the right.

    They are drawn as plain lines: Plotly's own parallel coordinates need WebGL and generated code, which the
    page forbids. Lines of similar results share a colour, from bad to good, and a trace. Runs that are not
    ``inside`` the filter are grey. The user selects a range by dragging.
    """
    scales = [scale(column) for column in [*columns, goal]]
    low, high = min(goal), max(goal)
    shade = [0 if high == low else int((value - low) / (high - low) * (len(_SHADES) - 1)) for value in goal]
    if min_is_best:
        shade = [len(_SHADES) - 1 - level for level in shade]
    shade = [level if within else -1 for level, within in zip(shade, inside, strict=True)]
    labels = [
        f"{for_plot(run, 48)}<br>{for_plot(title)} {number_of(value)}"
        for run, value in zip(runs, goal, strict=True)
    ]
    shapes, notes = _axes(scales, [*names, title], theme)
    hidden = {"visible": False, "fixedrange": True}
    selection = {"mode": "gradual", "line": {"color": theme.ink, "width": 1, "dash": "dot"}}
    return {
        "data": _lines(scales, shade, labels, theme),
        "layout": layout(
            theme,
            xaxis={**hidden, "range": [-0.2, len(scales) - 0.55]},
            yaxis={**hidden, "range": [-0.06, 1.16]},
            shapes=shapes,
            annotations=notes,
            margin={"l": 8, "r": 8, "t": 4, "b": 4},
            height=340,
            hovermode="closest",
            dragmode="select",
            newselection=selection,
        ),
    }


def _lines(
    scales: Sequence[Scale], shade: Sequence[int], labels: Sequence[str], theme: Theme
) -> list[dict[str, Any]]:
    """Return a trace for each shade, with the lines of its runs."""
    heights = np.array([scale.places for scale in scales])
    traces = []
    for level, tint in [(-1, theme.grid), *enumerate(_SHADES)]:
        members = [place for place, found in enumerate(shade) if found == level]
        if not members:
            continue
        x: list[Any] = []
        y: list[Any] = []
        text: list[str] = []
        for member in members:
            x += [*range(len(scales)), None]
            y += [*heights[:, member].tolist(), None]
            text += [labels[member]] * (len(scales) + 1)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": x,
                "y": y,
                "text": text,
                "hoverinfo": "text",
                "line": {"color": tint, "width": 1.6, "shape": "spline", "smoothing": 0.4},
                "marker": {"size": 5, "color": tint},
                "opacity": 0.8 if len(labels) < 60 else 0.45,
            }
        )
    return traces


def _axes(
    scales: Sequence[Scale], names: Sequence[str], theme: Theme
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the axes as lines, and their labels."""
    shapes, notes = [], []
    for place, (axis, name) in enumerate(zip(scales, names, strict=True)):
        shapes.append(
            {
                "type": "line",
                "x0": place,
                "x1": place,
                "y0": 0,
                "y1": 1,
                "line": {"color": theme.faint, "width": 1},
            }
        )
        notes.append(
            {
                "x": place,
                "y": 1.09,
                "text": f"<b>{for_plot(name, 17)}</b>",
                "showarrow": False,
                "font": {"size": 12},
            }
        )
        for height, label in axis.ticks:
            notes.append(
                {
                    "x": place,
                    "y": height,
                    "text": for_plot(label, 16),
                    "showarrow": False,
                    "xanchor": "left",
                    "xshift": 5,
                    "font": {"size": 10, "color": theme.faint},
                    "bgcolor": theme.paper,
                    "opacity": 0.9,
                }
            )
    return shapes, notes


# From bad to good, readable on white and on black: viridis without its darkest and lightest colours.
_SHADES = ("#46327e", "#3f4f8a", "#365c8d", "#2c728e", "#21908d", "#27ad81", "#5cc863", "#a0c83a", "#d2b021")


class Scale(NamedTuple):
    """The heights of the values on an axis, from 0 at the bottom to 1 at the top."""

    places: list[float]
    ticks: list[tuple[float, str]]
    low: float = 0.0  # for numbers: the value at the bottom, or its logarithm
    span: float = 1.0
    log: bool = False
    numeric: bool = False


def scale(column: Sequence[Any]) -> Scale:
    """Return the scale of a column: linear or logarithmic for numbers, sorted by name for other values."""
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in column):
        words = sorted({str(item) for item in column})
        top = max(1, len(words) - 1)
        shown = words if len(words) <= 12 else [words[0], words[-1]]
        return Scale(
            [words.index(str(item)) / top for item in column],
            [(words.index(word) / top, word) for word in shown],
        )
    values = np.array([float(item) for item in column])
    wide = values.min() > 0 and values.max() > 50 * values.min()
    places = np.log10(values) if wide else values
    low, span = float(places.min()), float(places.max() - places.min()) or 1.0
    few = np.unique(places) if len(np.unique(places)) <= 6 else np.linspace(low, low + span, 5)
    return Scale(
        ((places - low) / span).tolist(),
        [((t - low) / span, number_of(10**t if wide else t)) for t in few.tolist()],
        low,
        span,
        bool(wide),
        numeric=True,
    )


def number_of(value: float) -> str:
    """Return a number as text with three significant digits."""
    return number(float(f"{value:.3g}"))


def scatter(
    members: Sequence[Member], x: Sequence[Any], y: Sequence[float], names: tuple[str, str], theme: Theme
) -> Figure:
    """Return a scatter plot of a parameter and a metric, a point for each run; unselected runs are grey."""
    numeric = all(isinstance(item, int | float) and not isinstance(item, bool) for item in x)
    wide = numeric and x and min(x) > 0 and max(x) > 50 * min(x)
    tints = [palette.colour(m.slot, theme) if m.slot >= 0 else theme.faint for m in members]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": list(x) if numeric else [for_plot(str(item), 24) for item in x],
                "y": list(y),
                "text": [for_plot(m.name, 48) for m in members],
                "marker": {
                    "color": tints,
                    "size": 9,
                    "opacity": 0.85,
                    "line": {"width": 1, "color": theme.paper},
                },
                "hovertemplate": "%{text}<br>%{x} → %{y:.5g}<extra></extra>",
            }
        ],
        "layout": layout(
            theme,
            xaxis={
                "title": {"text": for_plot(names[0], 48), "font": {"color": theme.faint, "size": 12}},
                "type": "log" if wide else "linear" if numeric else "category",
            },
            yaxis={"title": {"text": for_plot(names[1], 40), "font": {"color": theme.faint, "size": 12}}},
            margin={"l": 56, "r": 12, "t": 8, "b": 44},
            height=300,
            hovermode="closest",
        ),
    }


def correlations(names: Sequence[str], values: Sequence[float], theme: Theme) -> Figure:
    """Return a bar chart of the correlation of each parameter with the metric, from -1 to 1."""
    tints = [theme.runs[0] if value >= 0 else theme.runs[1] for value in values]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": [for_plot(name, 30) for name in names],
                "x": list(values),
                "marker": {"color": tints},
                "insidetextfont": {"color": [palette.ink_on(tint) for tint in tints]},
                "text": [f"{value:+.2f}" for value in values],
                "textposition": "auto",
                "cliponaxis": False,
                "hovertemplate": "%{y}: %{x:+.3f}<extra></extra>",
                "width": 0.62,
            }
        ],
        "layout": layout(
            theme,
            xaxis={"range": [-1.12, 1.12], "tickvals": [-1, -0.5, 0, 0.5, 1], "zerolinecolor": theme.faint},
            yaxis={"autorange": "reversed", "tickfont": {"color": theme.ink, "size": 12}, "showgrid": False},
            margin={"l": 8, "r": 12, "t": 4, "b": 24},
            height=max(120, 46 + 25 * len(names)),
        ),
    }

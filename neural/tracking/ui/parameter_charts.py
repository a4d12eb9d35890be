"""Figures of what parameters have to do with a metric: parallel coordinates, scatters, correlations."""

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
    least_is_best: bool = False,
) -> Figure:
    """Return parallel coordinates: a line a run, an axis a parameter, the metric at the right.

    Drawn as plain lines: Plotly's own kind needs WebGL and code made at run time, which the page forbids.
    Lines of like results share a colour, from poor to good, and a trace; those that are not ``inside`` what
    was chosen are faint. A drag chooses a stretch.
    """
    scales = [scale(column) for column in [*columns, goal]]
    low, high = min(goal), max(goal)
    shade = [0 if high == low else int((value - low) / (high - low) * (len(_SHADES) - 1)) for value in goal]
    if least_is_best:
        shade = [len(_SHADES) - 1 - level for level in shade]
    shade = [level if within else -1 for level, within in zip(shade, inside, strict=True)]
    told = [
        f"{for_plot(run, 48)}<br>{for_plot(title)} {number_of(value)}"
        for run, value in zip(runs, goal, strict=True)
    ]
    shapes, notes = _axes(scales, [*names, title], theme)
    blind = {"visible": False, "fixedrange": True}
    chosen = {"mode": "gradual", "line": {"color": theme.ink, "width": 1, "dash": "dot"}}
    return {
        "data": _lines(scales, shade, told, theme),
        "layout": layout(
            theme,
            xaxis={**blind, "range": [-0.2, len(scales) - 0.55]},
            yaxis={**blind, "range": [-0.06, 1.16]},
            shapes=shapes,
            annotations=notes,
            margin={"l": 8, "r": 8, "t": 4, "b": 4},
            height=340,
            hovermode="closest",
            dragmode="select",
            newselection=chosen,
        ),
    }


def _lines(
    scales: Sequence[Scale], shade: Sequence[int], told: Sequence[str], theme: Theme
) -> list[dict[str, Any]]:
    """Return a trace for each shade with the lines of the runs that have it."""
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
            text += [told[member]] * (len(scales) + 1)
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
                "opacity": 0.8 if len(told) < 60 else 0.45,
            }
        )
    return traces


def _axes(
    scales: Sequence[Scale], names: Sequence[str], theme: Theme
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the axes as lines, and what is written at them."""
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


# From poor to good, readable on white and on black; the lightness of viridis without its ends.
_SHADES = ("#46327e", "#3f4f8a", "#365c8d", "#2c728e", "#21908d", "#27ad81", "#5cc863", "#a0c83a", "#d2b021")


class Scale(NamedTuple):
    """Where the values of an axis stand: 0 at the bottom, 1 at the top."""

    places: list[float]
    ticks: list[tuple[float, str]]
    low: float = 0.0  # of numbers: the value, or its logarithm, at the bottom
    span: float = 1.0
    log: bool = False
    numeric: bool = False


def scale(column: Sequence[Any]) -> Scale:
    """Return where each value stands on its axis: numbers by size or order of magnitude, words by name."""
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
    """Return a number with three digits that count."""
    return number(float(f"{value:.3g}"))


def scatter(
    members: Sequence[Member], x: Sequence[Any], y: Sequence[float], names: tuple[str, str], theme: Theme
) -> Figure:
    """Return a parameter against a metric, a point a run; runs that are not selected are grey."""
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
    """Return how far each parameter goes with the metric, from -1 to 1."""
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

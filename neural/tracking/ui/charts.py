"""The figures of the page as plain dicts: building Plotly's objects would take longer than reading the data.

Long arrays are sent as base64 typed arrays, which Plotly reads directly. Every text that a user wrote goes
through :func:`~neural.tracking.ui.text.for_plot`, because Plotly renders HTML in labels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from neural.tracking.formats.event_stream import Array
from neural.tracking.ui import palette
from neural.tracking.ui.data.series import Drawn
from neural.tracking.ui.palette import Theme
from neural.tracking.ui.text import for_plot, number

Figure = dict[str, Any]

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,  # Plotly's default is a button that sends the data to another server
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"scale": 2},
}
_TYPES = {"float64": "f8", "float32": "f4", "int32": "i4"}


class Member(NamedTuple):
    """A run in a chart."""

    slot: int
    name: str  # the name of the run, with its id if another run has the same name
    start_ns: int


def packed(values: Array) -> dict[str, str]:
    """Return an array in Plotly's base64 form; integers as int32 if they fit, else as float64."""
    if values.dtype.kind in "iu":
        fits = not len(values) or (int(values.min()) >= -(2**31) and int(values.max()) < 2**31)
        values = values.astype(np.int32 if fits else np.float64)
    return {"dtype": _TYPES[values.dtype.name], "bdata": base64.b64encode(values.tobytes()).decode()}


def layout(theme: Theme, **more: Any) -> dict[str, Any]:
    """Return the layout that all figures share, with the entries of ``more`` merged in."""
    axis = {
        "gridcolor": theme.grid,
        "zerolinecolor": theme.grid,
        "linecolor": theme.grid,
        "tickcolor": theme.grid,
        "automargin": True,
        "tickfont": {"color": theme.faint, "size": 11},
        "title": {"font": {"color": theme.faint, "size": 11}, "standoff": 6},
    }
    shared: dict[str, Any] = {
        "font": {"family": FONT, "size": 12, "color": theme.ink},
        "paper_bgcolor": theme.paper,
        "plot_bgcolor": theme.paper,
        "margin": {"l": 44, "r": 12, "t": 8, "b": 36},
        "hoverlabel": {
            "bgcolor": theme.paper,
            "bordercolor": theme.grid,
            "font": {"family": FONT, "size": 12, "color": theme.ink},
        },
        "xaxis": axis,
        "yaxis": dict(axis),
        "showlegend": False,
        "autosize": True,
    }
    for name, value in more.items():
        shared[name] = {**shared[name], **value} if isinstance(shared.get(name), dict) else value
    return shared


def blank() -> Figure:
    """Return an empty figure, a placeholder for a chart."""
    clear = "rgba(0,0,0,0)"
    hidden = {"visible": False}
    return {
        "data": [],
        "layout": {"xaxis": hidden, "yaxis": hidden, "paper_bgcolor": clear, "plot_bgcolor": clear},
    }


def curves(
    members: Sequence[Member],
    lines: Sequence[Sequence[Drawn]],
    theme: Theme,
    *,
    x: str,
    log: Sequence[str] = (),
    revision: str = "",
) -> Figure:
    """Return the chart of one metric: a line for each run or rank, with a band where ranks were combined.

    Args:
        members: the runs.
        lines: the lines of each run, over steps or over nanoseconds since 1970.
        theme: the theme of the page.
        x: ``step``, ``relative`` or ``wall``.
        log: the logarithmic axes, of ``x`` and ``y``.
        revision: while it is the same, Plotly keeps zoom and hidden lines.
    """
    traces: list[dict[str, Any]] = []
    for member, drawn in zip(members, lines, strict=True):
        for line in drawn:
            traces += _traces(member, line, theme, x, len(drawn) > 1)
    title = {"step": "step", "relative": "time since the start", "wall": ""}[x]
    horizontal: dict[str, Any] = {"title": {"text": title, "font": {"color": theme.faint, "size": 11}}}
    horizontal |= {
        "showspikes": True,
        "spikemode": "across",
        "spikesnap": "cursor",
        "spikethickness": 1,
        "spikecolor": theme.faint,
        "spikedash": "dot",
    }
    if x == "wall":
        horizontal["type"] = "date"
    elif "x" in log:
        horizontal["type"] = "log"
    if x == "relative" and "x" not in log:
        horizontal |= _time_ticks(traces)
    vertical: dict[str, Any] = {"type": "log", "dtick": 1} if "y" in log else {}
    if "y" in log and not _decades(lines):
        vertical.pop("dtick")
    vertical["exponentformat"] = "power" if "y" in log else "SI"
    return {
        "data": traces,
        "layout": layout(
            theme,
            xaxis=horizontal,
            yaxis=vertical,
            hovermode="x unified",
            hoverdistance=40,
            uirevision=revision,
            dragmode="zoom",
        ),
    }


def _decades(lines: Sequence[Sequence[Drawn]]) -> bool:
    """Return whether the maximum of a line is more than a hundred times its minimum."""
    for line in (line for drawn in lines for line in drawn):
        real = line.y[np.isfinite(line.y) & (line.y > 0)]
        if len(real) and real.max() > 100 * real.min():
            return True
    return False


def _x(values: Array, member: Member, x: str) -> Array:
    if x == "step":
        return values
    since = values - member.start_ns if x == "relative" else values
    return since / 1e9 if x == "relative" else since / 1e6  # Plotly's dates are milliseconds


def _time_ticks(traces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return ticks at whole minutes, hours or days."""
    top = max((trace["_top"] for trace in traces if "_top" in trace), default=0.0)
    for trace in traces:
        trace.pop("_top", None)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if top >= 2 * size:
            step = next((s for s in (1, 2, 3, 6, 12, 24, 48, 120, 240, 1200) if top / size / s <= 8), 6000)
            places = np.arange(0, top + 1, step * size)
            return {
                "tickmode": "array",
                "tickvals": places.tolist(),
                "ticktext": [f"{int(place / size)} {unit}" for place in places],
            }
    return {"ticksuffix": " s"}


def _traces(member: Member, line: Drawn, theme: Theme, x: str, many: bool) -> list[dict[str, Any]]:
    tint = palette.colour(member.slot, theme)
    places = _x(line.x, member, x)
    name = for_plot(member.name, 40) + (f" · rank {line.rank}" if line.rank is not None else "")
    found: list[dict[str, Any]] = []
    if line.low is not None and line.high is not None:
        band = {"x": packed(places), "mode": "lines", "type": "scatter", "hoverinfo": "skip"}
        edge = {"line": {"width": 0, "color": tint}, "legendgroup": name}
        found.append({**band, **edge, "y": packed(line.low)})
        found.append(
            {**band, **edge, "y": packed(line.high), "fill": "tonexty", "fillcolor": _clear(tint, 0.18)}
        )
    if line.faint is not None:
        found.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": packed(_x(line.faint[0], member, x)),
                "y": packed(line.faint[1]),
                "line": {"width": 1, "color": _clear(tint, 0.28)},
                "hoverinfo": "skip",
            }
        )
    few_points = int(np.isfinite(line.y).sum()) < 3
    main: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if few_points else "lines",
        "name": name,
        "x": packed(places),
        "y": packed(line.y),
        "line": {"width": 1.2 if many else 1.8, "color": tint, "dash": palette.dash(member.slot)},
        "hovertemplate": "%{y:.5g}",
    }
    if x == "relative" and len(places):
        main["_top"] = float(places[-1])
    return [*found, main]


def _clear(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def bars(
    members: Sequence[Member], values: Sequence[float | None], steps: Sequence[Any], theme: Theme
) -> Figure:
    """Return the best values of one metric: a bar for each run, with its value as text."""
    shown = [
        (m, v, s) for m, v, s in zip(members, values, steps, strict=True) if v is not None and np.isfinite(v)
    ]
    tints = [palette.colour(m.slot, theme) for m, _, _ in shown]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": [for_plot(m.name, 28) + "\u200b" * i for i, (m, _, _) in enumerate(shown)],
                "x": [v for _, v, _ in shown],
                "text": [number(v) for _, v, _ in shown],
                "textposition": ["auto" if v else "outside" for _, v, _ in shown],
                "cliponaxis": False,
                "insidetextanchor": "end",
                "insidetextfont": {"color": [palette.ink_on(tint) for tint in tints]},
                "marker": {"color": tints},
                "customdata": ["" if s is None else f" at step {s}" for _, _, s in shown],
                "hovertemplate": "%{x:.6g}%{customdata}<extra></extra>",
                "width": 0.68,
            }
        ],
        "layout": layout(
            theme,
            yaxis={"autorange": "reversed", "tickfont": {"color": theme.ink, "size": 12}, "showgrid": False},
            xaxis={"nticks": 5, "exponentformat": "SI"},
            margin={"l": 8, "r": 16, "t": 4, "b": 24},
            height=46 + 27 * max(1, len(shown)),
        ),
    }

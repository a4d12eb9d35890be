"""The tab of metrics: interactive curves of the selected runs, one chart for each metric, in groups.

The page requests a chart when it becomes visible, and again when the selected runs change. The server thins
curves to a few thousand points; after a zoom, the page requests the visible range in more detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_bootstrap_components as dbc
from dash import MATCH, ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from neural.tracking.ui import charts
from neural.tracking.ui.address import PageAddress
from neural.tracking.ui.charts import CONFIG
from neural.tracking.ui.data.catalogue import Row
from neural.tracking.ui.data.comparing import grouped, metric_names
from neural.tracking.ui.data.series import Drawn
from neural.tracking.ui.views import controls
from neural.tracking.ui.views.controls import Page, segmented, setting

POINTS = 18_000  # maximum of a chart with all its runs
MAX_POINTS, MIN_POINTS = 2000, 300  # limits of the points of a run, which depend on the number of runs
MORE = 24  # number of charts that a click on "more" adds


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab: its controls, and places for the charts."""
    settings = at.settings
    return html.Div(
        [
            html.Div(
                [
                    controls.search_field("m", at.settings["m"], "search metrics", "Search metrics", "search"),
                    segmented(
                        "x", {"step": "step", "relative": "time", "wall": "clock"}, settings["x"], "x axis"
                    ),
                    _log_axes(settings["log"]),
                    _smoothing(settings["smooth"]),
                    html.Div(
                        segmented("ranks", {"band": "band", "lines": "lines"}, settings["ranks"], "ranks"),
                        id="ranks-control",
                        hidden=True,
                    ),
                ],
                className="toolbar",
            ),
            html.Div(id="metrics-problems"),
            html.Div(id="charts", className="charts"),
            html.Button("", id="more-charts", className="btn btn-quiet more", type="button", hidden=True),
            dcc.Store(id="shown-charts", data=settings["n"]),
            dcc.Store(id="chart-names"),
        ],
        className="view view-metrics",
    )


def _log_axes(axes: list[str]) -> html.Div:
    return html.Div(
        [
            html.Span("log", className="control-label"),
            dbc.Checklist(
                id=setting("log"),
                value=axes,
                inline=True,
                className="segmented",
                options=[{"label": axis, "value": axis} for axis in ("x", "y")],
                inputClassName="btn-check",
                labelClassName="btn btn-sm",
                labelCheckedClassName="active",
            ),
        ],
        className="control",
        role="group",
        **{"aria-label": "logarithmic axes"},
    )


def _smoothing(weight: float) -> html.Div:
    return html.Div(
        [
            html.Label("smooth", className="control-label", htmlFor="smooth-range"),
            html.Div(
                dcc.Slider(
                    id=setting("smooth"),
                    min=0,
                    max=0.99,
                    step=0.01,
                    value=weight,
                    marks=None,
                    updatemode="mouseup",
                    allow_direct_input=True,
                ),
                className="slider-room",
            ),
        ],
        className="control control-smooth",
    )


def matching(names: Sequence[str], search: str | None) -> list[str]:
    """Return the metrics whose names contain every word of the search, in any case."""
    words = (search or "").lower().split()
    return [name for name in names if all(word in name.lower() for word in words)]


def _id(part: str, metric: Any) -> dict[str, Any]:
    """Return the id of a part of a card; ``metric`` is the name in hex, so that it can have any characters."""
    return {"part": part, "metric": metric}


def card(name: str) -> html.Div:
    """Return the card of one metric, with an empty chart."""
    code = name.encode().hex()
    return html.Div(
        [
            html.Div(
                [html.H3(name, title=name), html.Span(id=_id("note", code), className="note")],
                className="card-head",
            ),
            html.Div(
                dcc.Graph(
                    id=_id("chart", code),
                    figure=charts.blank(),
                    config=CONFIG,
                    style={"height": "240px"},
                ),
                role="figure",
                **{"aria-label": f"curves of {name}"},
            ),
            dcc.Store(id=_id("seen", code)),
            dcc.Store(id=_id("zoom", code)),
        ],
        className="chart-card",
        id=_id("card", code),
    )


def sections(names: Sequence[str]) -> list[html.Section]:
    """Return the cards of the metrics in sections, one for each group."""
    groups = grouped(names)
    return [
        html.Section(
            [
                html.H2(
                    [
                        html.Bdi(head or ("others" if len(groups) > 1 else "metrics")),
                        html.Span(f" {len(members)}", className="faint"),
                    ]
                ),
                html.Div([card(name) for name in members], className="chart-grid"),
            ],
            className="chart-group",
        )
        for head, members in groups.items()
    ]


def note(lines: Sequence[Sequence[Drawn]], failed: int) -> str:
    """Return the note in the corner of a chart: the numbers of shown and of left out points."""
    shown = sum(len(line.x) for drawn in lines for line in drawn)
    total = sum(line.total for drawn in lines for line in drawn)
    holes = sum(line.not_finite for drawn in lines for line in drawn)
    found = []
    if shown < total:
        found.append(f"showing {shown:,} of {total:,}")
    elif total:
        found.append(f"{total:,} point{'s' if total != 1 else ''}")
    if holes:
        found.append(f"{holes:,} not finite")
    if any(line.low is not None for drawn in lines for line in drawn):
        found.append("band: minimum to maximum over ranks")
    if failed:
        found.append(f"{failed} run{'s' if failed != 1 else ''} unreadable")
    return " · ".join(found)


def span_of(zoom: Any, x: str, rows: Sequence[Row]) -> list[tuple[float, float] | None]:
    """Return the visible range of a zoomed x axis for each run, in the unit of its points, or None."""
    if not zoom:
        return [None] * len(rows)
    low, high = float(zoom[0]), float(zoom[1])
    if x == "step":
        return [(low, high)] * len(rows)
    if x == "wall":
        return [(low * 1e6, high * 1e6)] * len(rows)
    return [(controls.start_ns(row) + low * 1e9, controls.start_ns(row) + high * 1e9) for row in rows]


def register(app: Dash, page: Page) -> None:
    """Add the callbacks of the tab."""
    _register_names(app, page)
    _register_charts(app, page)


def _register_names(app: Dash, page: Page) -> None:
    """Register the callbacks that add a card for each metric, and more cards on a click."""

    def names(
        slots: list[str], search: str, count: int, generations: Any, before: list[str] | None
    ) -> tuple[Any, ...]:
        chosen = [row for _, row in page.chosen(slots)]
        problems = controls.problem_list(page.problems(slots))
        if not chosen:
            return controls.select_first(), problems, True, "", None, True
        found = matching(metric_names(chosen), search)
        ordered = [name for members in grouped(found).values() for name in members]
        shown = ordered[: count or MORE]
        left = len(ordered) - len(shown)
        no_metrics = not any(row.metrics for row in chosen)
        hide_ranks = not any(row.ranks > 1 for row in chosen)
        more = (left <= 0, f"Show {min(MORE, left)} more of {len(ordered):,} charts")
        if shown == before:
            return no_update, problems, *more, no_update, hide_ranks
        if not shown:
            empty = (
                controls.notice(
                    "Nothing logged yet", "Charts appear here when a selected run logs its first metric."
                )
                if no_metrics
                else controls.notice("No metric matches", "Search for fewer words, or clear the search.")
            )
            return empty, problems, *more, shown, hide_ranks
        return sections(shown), problems, *more, shown, hide_ranks

    app.callback(
        Output("charts", "children"),
        Output("metrics-problems", "children"),
        Output("more-charts", "hidden"),
        Output("more-charts", "children"),
        Output("chart-names", "data"),
        Output("ranks-control", "hidden"),
        Input("selected", "data"),
        Input(setting("m"), "value"),
        Input("shown-charts", "data"),
        Input("selected-generations", "data"),
        State("chart-names", "data"),
    )(names)

    def more(clicks: int | None, count: int) -> Any:
        return (count or MORE) + MORE if clicks else no_update

    app.callback(
        Output("shown-charts", "data"),
        Input("more-charts", "n_clicks"),
        State("shown-charts", "data"),
        prevent_initial_call=True,
    )(more)


def _register_charts(app: Dash, page: Page) -> None:
    """Register the callback that draws a chart when it becomes visible and when its content changes."""

    def draw(
        seen: bool,
        zoom: Any,
        slots: list[str],
        x: str,
        log: list[str],
        weight: float,
        ranks: str,
        theme: Any,
        generations: Any,
        own: dict[str, str],
    ) -> tuple[Any, Any]:
        if not seen:
            return no_update, no_update
        metric = bytes.fromhex(own["metric"]).decode()
        chosen = [pair for pair in page.chosen(slots) if metric in pair[1].metrics or pair[1].live]
        return chart(page, metric, chosen, zoom, x, log or [], weight or 0.0, ranks)

    app.callback(
        Output(_id("chart", MATCH), "figure"),
        Output(_id("note", MATCH), "children"),
        Input(_id("seen", MATCH), "data"),
        Input(_id("zoom", MATCH), "data"),
        Input("selected", "data"),
        Input(setting("x"), "value"),
        Input(setting("log"), "value"),
        Input(setting("smooth"), "value"),
        Input(setting("ranks"), "value"),
        Input("theme", "data"),
        Input("selected-generations", "data"),
        State(_id("chart", MATCH), "id"),
        prevent_initial_call=True,
    )(draw)

    app.clientside_callback(
        ClientsideFunction("ntrack", "zoomed"),
        Output(_id("zoom", MATCH), "data"),
        Input(_id("chart", MATCH), "relayoutData"),
        State(setting("x"), "value"),
        State(setting("log"), "value"),
        State(_id("zoom", MATCH), "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("ntrack", "watchCharts"), Output("charts", "title"), Input("charts", "children")
    )


def chart(
    page: Page,
    metric: str,
    chosen: Sequence[tuple[int, Row]],
    zoom: Any,
    x: str,
    log: Sequence[str],
    weight: float,
    ranks: str,
) -> tuple[charts.Figure, str]:
    """Return the figure of a metric and the note in its corner. Blocks while it reads the runs."""
    rows = [row for _, row in chosen]
    each = max(MIN_POINTS, min(MAX_POINTS, POINTS // max(1, len(rows))))
    drawn: list[Any] = []
    by_span: dict[Any, list[int]] = {}
    for place, span in enumerate(span_of(zoom, x, rows)):
        by_span.setdefault(span, []).append(place)
    found: dict[int, Any] = {}
    for span, places in by_span.items():
        read = page.series.drawn(
            [rows[place].folder for place in places],
            metric,
            by_time=x != "step",
            ranks=ranks,
            span=span,
            count=each,
            weight=weight,
        )
        found |= dict(zip(places, read, strict=True))
    drawn = [found[place] for place in range(len(rows))]
    lines = [[] if isinstance(one, Exception) else one for one in drawn]
    figure = charts.curves(
        controls.members(chosen), lines, controls.theme(), x=x, log=log, revision=f"{x} {log}"
    )
    return figure, note(lines, sum(isinstance(one, Exception) for one in drawn))

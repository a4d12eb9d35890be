"""The tab of hyperparameters: a table with differences first, and charts of their relation to a metric."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from neural.tracking.errors import QueryError
from neural.tracking.ui import parameter_charts, range_filter, text
from neural.tracking.ui.address import MAX_SELECTED, PageAddress
from neural.tracking.ui.charts import Member
from neural.tracking.ui.data.catalogue import Row
from neural.tracking.ui.data.comparing import (
    MISSING,
    UNKNOWN_GOAL,
    best,
    correlation,
    goal_of,
    labels,
    metric_names,
    parameters,
)
from neural.tracking.ui.data.query import Test, compile_query
from neural.tracking.ui.views import controls
from neural.tracking.ui.views.controls import Page, segmented, setting
from neural.tracking.ui.views.partial_update import Pieces

MAX_AXES = 10
AXIS_PX = 130  # minimum distance of axes
MAX_SCATTERS = 6
MAX_RUNS = 1000  # in the charts, if none is selected
MAX_ROWS = 400

Point = tuple[int, Row, float]  # slot (-1: not selected), run, its best value of the metric


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab without content; the first callback adds it."""
    return html.Div(
        [
            html.Div(
                [
                    html.Div(
                        [
                            html.Span("metric", className="control-label"),
                            dcc.Dropdown(
                                id=setting("target"),
                                # Dash would remove a value that is not an option from the address.
                                options=[at.settings["target"]] if at.settings["target"] else [],
                                value=at.settings["target"] or None,
                                placeholder="a metric",
                                className="target-choice",
                            ),
                        ],
                        className="control",
                    ),
                    segmented(
                        "goal",
                        {"auto": "by name", "min": "minimum", "max": "maximum"},
                        at.settings["goal"],
                        "best is",
                    ),
                    controls.search_field(
                        "where",
                        at.settings["where"],
                        "charts only of runs where",
                        "only runs where …  (drag along an axis, or type: lr < 0.01)",
                        "filter",
                    ),
                ],
                className="toolbar",
            ),
            html.Div(id="where-error", className="filter-error", role="alert"),
            html.Div(id="params-content"),
            dcc.Store(id="params-shown"),
        ],
        className="view view-params",
    )


def table(chosen: Sequence[tuple[int, Row]]) -> html.Div:
    """Return the table: a row for each parameter, a column for each run; constant ones in a fold below."""
    rows = [row for _, row in chosen]
    differing, constant = parameters(rows)
    names = [member.name for member in controls.members(chosen)]
    head = html.Thead(
        html.Tr(
            [html.Th("parameter", scope="col")]
            + [
                html.Th([controls.dot(slot), name], scope="col", title=name)
                for (slot, _), name in zip(chosen, names, strict=True)
            ]
        )
    )
    found: list[Any] = []
    if differing:
        found.append(_scrolling(head, differing, rows))
    elif len(rows) > 1:
        found.append(html.P("All parameters are the same.", className="faint"))
    if len(differing) > MAX_ROWS:
        found.append(html.P(f"and {len(differing) - MAX_ROWS} more; the export has all", className="faint"))
    if constant:
        title = f"{len(constant)} the same in {'all' if len(rows) > 1 else 'this run'}"
        same = html.Table(
            [html.Tbody([_line(name, rows[:1]) for name in constant[:MAX_ROWS]])],
            className="table-plain",
            **{"aria-label": "parameters that are the same"},
        )
        found.append(
            html.Details(
                [html.Summary(title if len(rows) > 1 else f"{len(constant)} parameters"), same],
                open=not differing,
                className="constant",
            )
        )
    if not differing and not constant:
        found.append(html.P("The selected runs logged no hyperparameters.", className="faint"))
    return html.Div(found)


def _scrolling(head: html.Thead, names: Sequence[str], rows: Sequence[Row]) -> html.Div:
    body = html.Tbody([_line(name, rows) for name in names[:MAX_ROWS]])
    return html.Div(
        html.Table(
            [head, body], className="table-plain side-by-side", **{"aria-label": "parameters that differ"}
        ),
        className="scrolling",
        tabIndex="0",
        role="region",
        **{"aria-label": "parameters that differ"},
    )


def _line(name: str, rows: Sequence[Row]) -> html.Tr:
    cells = []
    for row in rows:
        there = name in row.params
        shown = text.value(row.params[name]) if there else MISSING
        cells.append(html.Td(shown[:300], className="" if there else "faint"))
    return html.Tr([html.Th(name, scope="row", title=name), *cells])


def points(page: Page, chosen: Sequence[tuple[int, Row]], metric: str, goal: str) -> list[Point]:
    """Return the runs in the charts with their best values: the selected runs, or all if fewer than two are."""
    slots = {row.key: slot for slot, row in chosen}
    rows = [row for _, row in chosen] if len(chosen) > 1 else page.catalogue.rows()
    found = []
    for row in rows:
        value, _ = best(row, metric, goal)
        if row.readable and value is not None and abs(value) < float("inf"):
            found.append((slots.get(row.key, -1), row, value))
    return found[:MAX_RUNS]


def charts_of(found: Sequence[Point], metric: str, goal: str, passes: Callable[[Row], bool]) -> list[Any]:
    """Return the charts of the parameters that differ. Only the parallel coordinates show all runs."""
    rows = [row for _, row, _ in found]
    goals = [value for _, _, value in found]
    title = f"{goal} {metric}"
    differing = [
        name for name in parameters(rows)[0] if sum(name in row.params for row in rows) * 2 > len(rows)
    ]
    strength = {name: correlation([row.params.get(name) for row in rows], goals) for name in differing}
    ranked = sorted(differing, key=lambda name: -abs(strength[name] or 0.0))
    if len(rows) < 2 or not ranked:
        return [
            html.P(
                "Charts need two runs with this metric and different parameters.",
                className="faint",
            )
        ]
    sections = _parallel(found, ranked[:MAX_AXES], metric, goal, passes)
    passing = [point for point in found if passes(point[1])]
    return [*sections, *_relations(passing, ranked, title)]


def _parallel(
    found: Sequence[Point], axes: Sequence[str], metric: str, goal: str, passes: Callable[[Row], bool]
) -> list[Any]:
    """Return the parallel coordinates of the runs that have all of these parameters."""
    complete = [point for point in found if all(name in point[1].params for name in axes)]
    if len(complete) < 2:
        return []
    title = f"{goal} {metric}"
    rows = [row for _, row, _ in complete]
    columns = [[row.params[name] for row in rows] for name in axes]
    goals = [value for *_, value in complete]
    inside = [passes(row) for row in rows]
    figure = parameter_charts.parallel(
        axes, columns, goals, labels(rows), title, controls.theme(), inside=inside, min_is_best=goal == "min"
    )
    stored = [_axis(range_filter.reference(name), column) for name, column in zip(axes, columns, strict=True)]
    stored.append(_axis(range_filter.reference(f"{metric}.{goal}"), goals))
    drawn = controls.graph(figure, f"parallel coordinates against {title}", id="parallel")
    # A narrow screen scrolls it sideways: with less distance, the names of axes would overlap.
    wide = html.Div(drawn, style={"minWidth": f"{AXIS_PX * len(stored)}px"})
    content = [html.Div(wide, className="sideways"), dcc.Store(id="parallel-axes", data=stored)]
    return [_panel("Parallel coordinates: one line for each run", html.Div(content), "wide")]


def _axis(name: str, column: Sequence[Any]) -> range_filter.Axis:
    found = parameter_charts.scale(column)
    words = {} if found.numeric else dict(zip(found.places, map(range_filter.literal, column), strict=True))
    return {
        "name": name,
        "low": found.low,
        "span": found.span,
        "log": found.log,
        "words": sorted(words.items()),
    }


def _relations(found: Sequence[Point], ranked: Sequence[str], title: str) -> list[Any]:
    """Return the correlations and the scatter plots of the parameters and the metric."""
    theme = controls.theme()
    goals = [value for *_, value in found]
    strength = {name: correlation([row.params.get(name) for _, row, _ in found], goals) for name in ranked}
    sections: list[Any] = []
    known = [(name, value) for name in ranked if (value := strength[name]) is not None][:16]
    if known:
        figure = parameter_charts.correlations(
            [name for name, _ in known], [value for _, value in known], theme
        )
        hint = "rank correlation (Spearman): +1: both grow together, −1: one falls as the other grows, 0: none"
        graph = controls.graph(figure, f"correlation of parameters with {title}")
        sections.append(_panel(f"Correlation with {title}", html.Div([graph, html.P(hint, className="faint")])))
    for name in ranked[:MAX_SCATTERS] if found else ():
        having = [(slot, row, value) for slot, row, value in found if name in row.params]
        dots = [Member(slot, row.name, 0) for slot, row, _ in having]
        figure = parameter_charts.scatter(
            dots,
            [_plain(row.params[name]) for _, row, _ in having],
            [value for *_, value in having],
            (name, title),
            theme,
        )
        sections.append(_panel(name, controls.graph(figure, f"{name} against {title}")))
    return sections


def chosen_line(found: Sequence[Point], passes: Callable[[Row], bool]) -> html.Div:
    """Return the number of passing runs, and a button that selects them."""
    keys = [row.key for _, row, _ in found if passes(row)]
    button = html.Button(
        f"Select {'these' if len(keys) <= MAX_SELECTED else f'the first {MAX_SELECTED}'}",
        type="button",
        className="btn btn-primary",
        disabled=not keys,
        **{"data-pick": json.dumps(keys[:MAX_SELECTED])},
    )
    number = html.Span(f"{len(keys):,} of {len(found):,} runs", className="count", role="status")
    return html.Div([number, button], className="chosen-line")


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else text.value(value)


def _panel(title: str, content: Any, kind: str = "") -> html.Section:
    return html.Section([html.H3(title, title=title), content], className=f"panel {kind}")


def _related(
    page: Page,
    piece: Pieces,
    chosen: Sequence[tuple[int, Row]],
    metric: str,
    goal: str | None,
    passes: Test,
    narrowed: bool,
) -> list[Any]:
    """Return the charts of the relation of the parameters to a metric, or a hint if ``goal`` is unknown."""
    if goal is None:
        hint = f"{UNKNOWN_GOAL}: choose minimum or maximum for charts of {metric}."
        return [piece("unknown goal", html.P(hint, className="faint hint"))]
    shown = points(page, chosen, metric, goal)
    found = [piece("chosen", chosen_line(shown, passes))] if narrowed else []
    drawn = charts_of(shown, metric, goal, passes)
    placed = [piece(f"chart {number}", chart) for number, chart in enumerate(drawn)]
    return [*found, html.Div(placed, className="panel-grid")]


def register(app: Dash, page: Page) -> None:
    """Add the callbacks of the tab."""

    def content(
        slots: list[str],
        target: str | None,
        goal: str,
        where: str | None,
        theme: Any,
        generations: Any,
        all_read: bool | None,
        before: dict[str, str] | None,
    ) -> tuple[Any, ...]:
        try:
            passes = compile_query(where or "")
        except QueryError as error:
            return no_update, no_update, no_update, no_update, str(error), True
        chosen = page.chosen(slots)
        rows = [row for _, row in chosen] if len(chosen) > 1 else page.catalogue.rows()[:300]
        names = metric_names([row for row in rows if row.readable])
        offered = [{"label": name, "value": name} for name in names[:500]]
        metric = target if target in names else (names[0] if names else None)
        piece = Pieces("params", before)
        found: list[Any] = [piece("problems", controls.problem_list(page.problems(slots)))]
        if not rows:
            return *piece.answer([*found, piece("empty", controls.select_first())]), offered, metric, "", False
        if chosen:
            found.append(piece("table", _panel("Side by side", table(chosen), "wide")))
        if len(chosen) < 2:
            hint = "The charts show all runs. Select two or more in the Runs tab to show only those."
            found.append(html.P(hint, className="faint hint"))
        if metric is not None:
            found += _related(page, piece, chosen, metric, goal_of(metric, goal), passes, bool(where))
        return *piece.answer(found), offered, metric, "", False

    app.callback(
        Output("params-content", "children"),
        Output("params-shown", "data"),
        Output(setting("target"), "options"),
        Output(setting("target"), "placeholder"),
        Output("where-error", "children"),
        Output(setting("where"), "invalid"),
        Input("selected", "data"),
        Input(setting("target"), "value"),
        Input(setting("goal"), "value"),
        Input(setting("where"), "value"),
        Input("theme", "data"),
        Input("selected-generations", "data"),
        Input("all-read", "data"),  # if no run is selected, the charts show all runs
        State("params-shown", "data"),
    )(content)

    app.callback(
        Output(setting("where"), "value"),
        Input("parallel", "selectedData"),
        State("parallel-axes", "data"),
        State(setting("where"), "value"),
        prevent_initial_call=True,
    )(_brushed)


def _brushed(selected: dict[str, Any] | None, axes: list[range_filter.Axis] | None, where: str | None) -> Any:
    """Return the filter with the range of an axis that the user selected with the mouse."""
    box = (selected or {}).get("range")
    return range_filter.narrowed(where or "", axes, box) if box and axes else no_update

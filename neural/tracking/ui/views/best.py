"""The tab of best values: bars of the selected runs for each metric."""

from __future__ import annotations

from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html

from neural.tracking.ui import charts, text
from neural.tracking.ui.address import GOAL_OF, PageAddress
from neural.tracking.ui.data.catalogue import UNREADABLE, Row
from neural.tracking.ui.data.comparing import UNKNOWN_GOAL, best, goal_of, metric_names
from neural.tracking.ui.views import controls
from neural.tracking.ui.views.controls import Page
from neural.tracking.ui.views.metrics import matching
from neural.tracking.ui.views.partial_update import Pieces

MAX_CHARTS = 48


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab without content; the first callback adds it."""
    return html.Div(
        [
            html.Div(
                [
                    controls.search_field("m", at.settings["m"], "search metrics", "Search metrics", "search"),
                ],
                className="toolbar",
            ),
            html.Div(id="best-content"),
            dcc.Store(id="best-shown"),
        ],
        className="view view-best",
    )


def reached(page: Page, row: Row, metric: str, goal: str) -> tuple[float | None, int | None]:
    """Return the best value and its step, of the mean over ranks if there are several. Blocks on the disk."""
    return page.series.best(row.folder, metric, goal) if row.ranks > 1 else best(row, metric, goal)


def _setting(metric: str) -> str:
    """Return the name of the setting that says whether min or max of a metric is best."""
    return f"{GOAL_OF}{metric.encode().hex()}"


def card(page: Page, metric: str, chosen: list[tuple[int, Row]], goal: str | None) -> html.Section:
    """Return the card of one metric: the choice of min or max, and bars if ``goal`` is known."""
    setting = _setting(metric)
    code = setting.removeprefix(GOAL_OF)
    usual = goal_of(metric) or ""
    choice = dbc.RadioItems(
        id={"set": setting},
        options=[{"label": "minimum", "value": "min"}, {"label": "maximum", "value": "max"}],
        value=goal,
        className="segmented small",
        inputClassName="btn-check",
        labelClassName="btn btn-sm",
        labelCheckedClassName="active",
    )
    attributes = {"aria-label": f"best {metric} is", "data-goal": code, "data-usual": usual}
    head = html.Div(
        [html.H3(metric, title=metric), html.Div(choice, role="group", **attributes)], className="card-head"
    )
    if goal is None:
        content = [html.P(f"{UNKNOWN_GOAL}: choose minimum or maximum.", className="faint hint")]
    else:
        content = _bars(page, metric, chosen, goal)
    return html.Section([head, *content], className="chart-card")


def _bars(page: Page, metric: str, chosen: list[tuple[int, Row]], goal: str) -> list[Any]:
    """Return a bar chart of the best values, best first, or a note if there are none."""
    found: list[tuple[tuple[int, Row], float | None, int | None]] = []
    unreadable: list[tuple[str, str]] = []
    for pair in chosen:
        try:
            found.append((pair, *reached(page, pair[1], metric, goal)))
        except UNREADABLE as error:  # must be shown: otherwise another run would seem the best of all
            unreadable.append((pair[1].name, str(error)))
    found = [one for one in found if one[1] is not None]
    found.sort(key=lambda one: one[1] or 0.0, reverse=goal == "max")
    members = controls.members([pair for pair, _, _ in found])
    figure = charts.bars(
        members, [value for _, value, _ in found], [step for *_, step in found], controls.theme()
    )
    values = "; ".join(
        f"{member.name} {text.number(one[1])}" for member, one in zip(members, found, strict=True)
    )
    content = (
        controls.graph(figure, f"{goal} {metric}: {values}")
        if figure["data"][0]["x"]
        else html.P("No run has a finite value.", className="faint hint")
    )
    return [controls.problem_list(unreadable), content] if unreadable else [content]


def register(app: Dash, page: Page) -> None:
    """Add the callbacks of the tab."""

    def content(
        slots: list[str], settings: dict[str, Any], theme: Any, generations: Any, before: dict[str, str] | None
    ) -> tuple[Any, Any]:
        chosen = page.chosen(slots)
        piece = Pieces("best", before)
        problems = piece("problems", controls.problem_list(page.problems(slots)))
        if not chosen:
            return piece.answer([problems, piece("empty", controls.select_first())])
        names = matching(metric_names([row for _, row in chosen]), settings.get("m"))
        if not names:
            nothing = controls.notice(
                "Nothing to compare yet", "No metric matches, or the selected runs have no metrics."
            )
            return piece.answer([problems, piece("nothing", nothing)])
        cards = [
            piece(
                f"metric {name}", card(page, name, chosen, goal_of(name, settings.get(_setting(name), "auto")))
            )
            for name in names[:MAX_CHARTS]
        ]
        more = None
        if len(names) > MAX_CHARTS:
            more = html.P(
                f"{MAX_CHARTS} of {len(names):,} metrics; use the search for the others.",
                className="faint hint",
            )
        return piece.answer([problems, html.Div(cards, className="chart-grid"), piece("more", more)])

    app.callback(
        Output("best-content", "children"),
        Output("best-shown", "data"),
        Input("selected", "data"),
        Input("settings", "data"),
        Input("theme", "data"),
        Input("selected-generations", "data"),
        State("best-shown", "data"),
    )(content)

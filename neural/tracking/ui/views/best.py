"""The best value each selected run reached, metric by metric."""

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
    """Return the tab; its content comes with the first answer."""
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
    """Return the best value and its step; several ranks count as their mean, as in ``get_best_metric``."""
    return page.series.best(row.folder, metric, goal) if row.ranks > 1 else best(row, metric, goal)


def _setting(metric: str) -> str:
    """Return the name under which the address holds which value of a metric is best."""
    return f"{GOAL_OF}{metric.encode().hex()}"


def card(page: Page, metric: str, chosen: list[tuple[int, Row]], goal: str | None) -> html.Section:
    """Return the bars of one metric, best first, with the choice of what best is; none before that is known."""
    setting = _setting(metric)
    code = setting.removeprefix(GOAL_OF)
    usual = goal_of(metric) or ""
    choice = dbc.RadioItems(
        id={"set": setting},
        options=[{"label": "least", "value": "min"}, {"label": "greatest", "value": "max"}],
        value=goal,
        className="segmented small",
        inputClassName="btn-check",
        labelClassName="btn btn-sm",
        labelCheckedClassName="active",
    )
    about = {"aria-label": f"best {metric} is", "data-goal": code, "data-usual": usual}
    head = html.Div(
        [html.H3(metric, title=metric), html.Div(choice, role="group", **about)], className="card-head"
    )
    if goal is None:
        content = [html.P(f"{UNKNOWN_GOAL}: choose least or greatest.", className="faint hint")]
    else:
        content = _bars(page, metric, chosen, goal)
    return html.Section([head, *content], className="chart-card")


def _bars(page: Page, metric: str, chosen: list[tuple[int, Row]], goal: str) -> list[Any]:
    """Return each run's best value as a bar, or what is said where there is none."""
    found: list[tuple[tuple[int, Row], float | None, int | None]] = []
    unread: list[tuple[str, str]] = []
    for pair in chosen:
        try:
            found.append((pair, *reached(page, pair[1], metric, goal)))
        except UNREADABLE as error:  # said, or another run would pass for the best of all
            unread.append((pair[1].name, str(error)))
    found = [one for one in found if one[1] is not None]
    found.sort(key=lambda one: one[1] or 0.0, reverse=goal == "max")
    members = controls.members([pair for pair, _, _ in found])
    figure = charts.bars(
        members, [value for _, value, _ in found], [step for *_, step in found], controls.theme()
    )
    told = "; ".join(f"{member.name} {text.number(one[1])}" for member, one in zip(members, found, strict=True))
    content = (
        controls.graph(figure, f"{goal} {metric}: {told}")
        if figure["data"][0]["x"]
        else html.P("No run reached a finite value.", className="faint hint")
    )
    return [controls.trouble(unread), content] if unread else [content]


def register(app: Dash, page: Page) -> None:
    """Add the tab's answers."""

    def content(
        slots: list[str], settings: dict[str, Any], theme: Any, pulse: Any, before: dict[str, str] | None
    ) -> tuple[Any, Any]:
        chosen = page.chosen(slots)
        piece = Pieces("best", before)
        wrong = piece("trouble", controls.trouble(page.gone(slots)))
        if not chosen:
            return piece.answer([wrong, piece("empty", controls.select_first())])
        names = matching(metric_names([row for _, row in chosen]), settings.get("m"))
        if not names:
            nothing = controls.notice(
                "Nothing to compare yet", "No metric matches, or the selected runs logged none."
            )
            return piece.answer([wrong, piece("nothing", nothing)])
        cards = [
            piece(
                f"metric {name}", card(page, name, chosen, goal_of(name, settings.get(_setting(name), "auto")))
            )
            for name in names[:MAX_CHARTS]
        ]
        more = None
        if len(names) > MAX_CHARTS:
            more = html.P(
                f"{MAX_CHARTS} of {len(names):,} metrics; search for the others.", className="faint hint"
            )
        return piece.answer([wrong, html.Div(cards, className="chart-grid"), piece("more", more)])

    app.callback(
        Output("best-content", "children"),
        Output("best-shown", "data"),
        Input("selected", "data"),
        Input("settings", "data"),
        Input("theme", "data"),
        Input("pulse", "data"),
        State("best-shown", "data"),
    )(content)

"""The tab of exports: the comparison as HTML, numbers or plots, and its address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from dash import Dash, Input, Output, State, dcc, html

from neural.tracking.ui.address import PageAddress
from neural.tracking.ui.views import controls
from neural.tracking.ui.views.controls import Page
from neural.tracking.ui.views.partial_update import Pieces

CHOICES = (
    (
        "comparison.csv",
        "CSV, every value",
        "One line for each value: run, metric, step, time, rank, value. For pandas, R, SQL.",
    ),
    (
        "runs.csv",
        "CSV, one line for each run",
        "Status, times, parameters, last and best of each metric. For spreadsheets.",
    ),
    ("comparison.json", "JSON", "Parameters and metrics of each run. For scripts."),
    ("comparison.html", "HTML, self-contained", "Plots and tables in one file that needs no server."),
    (
        "comparison.zip",
        "PNG, all plots",
        "A plot for each metric, the hyperparameters and the best values, in one archive.",
    ),
)


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab without content; the first callback adds it."""
    return html.Div([html.Div(id="export-content"), dcc.Store(id="export-shown")], className="view view-export")


def register(app: Dash, page: Page) -> None:
    """Add the callbacks of the tab."""

    def content(slots: list[str], generations: Any, before: dict[str, str] | None) -> tuple[Any, Any]:
        chosen = page.chosen(slots)
        piece = Pieces("export", before)
        problems = piece("problems", controls.problem_list(page.problems(slots)))
        if not chosen:
            return piece.answer([problems, piece("empty", controls.select_first())])
        query = urlencode({"runs": ",".join(row.key for _, row in chosen)})
        cards = [
            html.A(
                [html.B(title), html.Span(description), html.Code(name)],
                href=f"/export/{name}?{query}",
                download=name,
                className="export-card",
            )
            for name, title, description in CHOICES
        ]
        share = html.Button(
            [
                html.B("Link to this view"),
                html.Span("The address has the selection and all settings."),
                html.Code("copy address"),
            ],
            id="copy-address",
            type="button",
            className="export-card",
        )
        which = ", ".join(member.name for member in controls.members(chosen))
        exports = [
            html.P([f"{len(chosen)} run{'s' if len(chosen) > 1 else ''}: ", which], className="faint hint"),
            html.Div([*cards, share], className="export-cards"),
            html.P(
                "To save a single chart as PNG, use the camera in its upper right corner.",
                className="faint hint",
            ),
        ]
        return piece.answer([problems, piece("exports", exports)])

    app.callback(
        Output("export-content", "children"),
        Output("export-shown", "data"),
        Input("selected", "data"),
        Input("selected-generations", "data"),
        State("export-shown", "data"),
    )(content)

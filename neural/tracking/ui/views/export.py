"""Taking the comparison away: the page, the numbers, the pictures, the address."""

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
        "One line a value: run, metric, step, time, rank, value. For pandas, R, SQL.",
    ),
    (
        "runs.csv",
        "CSV, a line a run",
        "Status, times, parameters, last and best of each metric. For spreadsheets.",
    ),
    ("comparison.json", "JSON", "Parameters, metrics and their best of each run. For scripts."),
    ("comparison.html", "HTML, self-contained", "Charts and tables in one file, readable without this server."),
    (
        "comparison.zip",
        "PNG, all charts",
        "A picture a metric, hyperparameters and best values, in one archive.",
    ),
)


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab; its content comes with the first answer."""
    return html.Div([html.Div(id="export-content"), dcc.Store(id="export-shown")], className="view view-export")


def register(app: Dash, page: Page) -> None:
    """Add the tab's answers."""

    def content(slots: list[str], pulse: Any, before: dict[str, str] | None) -> tuple[Any, Any]:
        chosen = page.chosen(slots)
        piece = Pieces("export", before)
        wrong = piece("trouble", controls.trouble(page.gone(slots)))
        if not chosen:
            return piece.answer([wrong, piece("empty", controls.select_first())])
        query = urlencode({"runs": ",".join(row.key for _, row in chosen)})
        cards = [
            html.A(
                [html.B(title), html.Span(told), html.Code(name)],
                href=f"/export/{name}?{query}",
                download=name,
                className="export-card",
            )
            for name, title, told in CHOICES
        ]
        share = html.Button(
            [
                html.B("Link to this view"),
                html.Span("The address holds the selection and every setting."),
                html.Code("copy address"),
            ],
            id="copy-address",
            type="button",
            className="export-card",
        )
        which = ", ".join(member.name for member in controls.members(chosen))
        told = [
            html.P([f"{len(chosen)} run{'s' if len(chosen) > 1 else ''}: ", which], className="faint hint"),
            html.Div([*cards, share], className="export-cards"),
            html.P("A single chart as PNG: the camera at its upper right corner.", className="faint hint"),
        ]
        return piece.answer([wrong, piece("exports", told)])

    app.callback(
        Output("export-content", "children"),
        Output("export-shown", "data"),
        Input("selected", "data"),
        Input("pulse", "data"),
        State("export-shown", "data"),
    )(content)

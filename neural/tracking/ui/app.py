"""Builds the page: its frame, the tabs, the polling of live runs, and the checks of every request.

State in the browser: ``settings`` (the values of all controls), ``selected`` (runs by slot),
``catalogue-generation`` (polled every two seconds) and ``selected-generations`` (of the selected runs: charts
are drawn again only when it changes). The URL follows settings and selection.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dash_bootstrap_components as dbc
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update, set_props

from neural.tracking.ui import address, routes
from neural.tracking.ui.address import PageAddress
from neural.tracking.ui.data.catalogue import Catalogue
from neural.tracking.ui.data.series import SeriesStore
from neural.tracking.ui.guard import Guard
from neural.tracking.ui.views import best, controls, export, metrics, params, runs, summary
from neural.tracking.ui.views.controls import Page
from neural.tracking.ui.views.partial_update import digest

logger = logging.getLogger(__name__)

TABS = {
    "runs": runs,
    "metrics": metrics,
    "params": params,
    "best": best,
    "summary": summary,
    "export": export,
}
POLL_MS = 2000
FIRST_READ_MS = 400  # between two polls while the runs are read for the first time

_INDEX = """<!DOCTYPE html>
<html lang="en" data-bs-theme="light">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<script src="/assets/early/theme.js"></script>
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def build(base_dir: Path, guard: Guard, catalogue: Catalogue | None = None) -> Dash:
    """Return the page for the runs of ``base_dir``; ``.server`` is its Flask application. Never blocks."""
    page = Page(catalogue or Catalogue(base_dir), SeriesStore())
    app = Dash(
        "neural.tracking.ui",
        title="Runs",
        index_string=_INDEX,
        update_title=None,
        assets_folder=str(Path(__file__).parent / "assets"),
        assets_ignore=r"theme\.js|sign-in\.css",
        serve_locally=True,
        suppress_callback_exceptions=True,
        enable_mcp=False,
        add_log_handler=False,
        on_error=_report_error,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = html.Div(
        [dcc.Location(id="url", refresh=False), dcc.Store(id="history"), html.Div(id="shell")]
    )
    _register(app, page)
    for tab in TABS.values():
        tab.register(app, page)
    routes.register(app, page, guard)
    return app


def _report_error(error: Exception) -> Any:
    """Show in the page that a callback failed; the rest of the page continues."""
    logger.exception("a callback of the page failed", exc_info=error)
    set_props("page-error", {"children": f"Part of the page cannot be shown: {error}. Reload it to try again."})
    return no_update


def frame(page: Page, at: PageAddress) -> list[Any]:
    """Return the frame of the page and its stores, with the state of the URL."""
    tabs = [dbc.Tab(label=label, tab_id=name) for name, label in address.VIEWS.items()]
    return [
        html.A("Skip to the content", href="#content", className="skip"),
        html.Header(
            [
                html.Div(
                    [html.Span(className="logo", **{"aria-hidden": "true"}), html.H1("Runs")], className="brand"
                ),
                html.Code(str(page.catalogue.base_dir), className="base-dir", title="folder of the runs"),
                html.Span("", id="live", className="live", role="status"),
                html.Button(
                    "◐",
                    id="theme-switch",
                    className="btn btn-quiet",
                    type="button",
                    title="switch between light and dark",
                    **{"aria-label": "switch between light and dark"},
                ),
            ],
            className="top",
        ),
        html.Nav(
            dbc.Tabs(tabs, id="tabs", active_tab=at.view, className="main-tabs"), **{"aria-label": "views"}
        ),
        html.Div(id="chips", className="chips", role="region", **{"aria-label": "selected runs"}),
        html.Div("", id="page-error", className="page-error", role="alert"),
        html.Div(
            "The server does not answer. Start ntrack ui again; the page then continues automatically.",
            className="offline",
            role="alert",
        ),
        html.Main(html.Div(className="loading", role="status", **{"aria-label": "loading"}), id="content"),
        dcc.Store(id="settings", data=at.settings),
        dcc.Store(id="defaults", data=address.SETTINGS),
        dcc.Store(id="selected", data=list(at.runs)),
        dcc.Store(id="chips-shown"),
        dcc.Store(id="theme"),
        dcc.Store(id="catalogue-generation", data=0),
        dcc.Store(id="selected-generations"),
        dcc.Store(id="any-runs"),
        dcc.Store(id="all-read"),
        dcc.Store(id="url-written"),
        dcc.Interval(id="poll", interval=FIRST_READ_MS),
    ]


def chips(page: Page, slots: list[str]) -> list[Any]:
    """Return a chip for each selected run, with its colour and a button that removes it."""
    named = {member.slot: member.name for member in controls.members(page.chosen(slots))}
    found = []
    for slot, key in enumerate(slots or ()):
        if not key:
            continue
        row = page.catalogue.row(key)
        name = named.get(slot) or (row.name if row is not None else key)
        found.append(
            html.Span(
                [
                    controls.dot(slot),
                    html.Span(name, className="chip-name", title=f"{name} · {key}"),
                    html.Button(
                        "×",
                        type="button",
                        className="chip-out",
                        **{"data-out": key, "aria-label": f"remove {name}"},
                    ),
                ],
                className="chip" if row is not None and row.readable else "chip chip-gone",
            )
        )
    if len(found) > 1:
        found.append(html.Button("clear", type="button", className="btn btn-quiet small", **{"data-out": "*"}))
    return found


def _register(app: Dash, page: Page) -> None:
    _register_frame(app, page)
    _register_polling(app, page)
    _register_address(app)


def _register_frame(app: Dash, page: Page) -> None:
    """Register the callbacks that return the frame and the open tab."""

    def whole_frame(search: str, history: dict[str, Any] | None) -> Any:
        # ``search`` is the address of the first load; page.js writes ``history`` when the user goes back.
        return frame(page, address.parse(history["search"] if history else search))

    app.callback(Output("shell", "children"), Input("url", "search"), Input("history", "data"))(whole_frame)

    def show(view: str, any_runs: bool | None, settings: dict[str, Any], slots: list[str]) -> Any:
        catalogue = page.catalogue
        if catalogue.complete and not catalogue.rows():
            return controls.first_run(catalogue.base_dir)
        at = PageAddress(view, tuple(slots or ()), {**address.SETTINGS, **(settings or {})})
        title = html.H2(address.VIEWS.get(view, address.VIEWS["runs"]), className="visually-hidden")
        return [title, TABS.get(view, runs).layout(page, at)]

    app.callback(
        Output("content", "children"),
        Input("tabs", "active_tab"),
        Input("any-runs", "data"),
        State("settings", "data"),
        State("selected", "data"),
    )(show)


def _register_polling(app: Dash, page: Page) -> None:
    """Register the callbacks that poll for changes of all runs and of the selected runs."""

    def poll_catalogue(
        polls: int, before: int, had_runs: bool | None, all_read: bool | None
    ) -> tuple[Any, ...]:
        catalogue = page.catalogue
        catalogue.refresh()
        generation = catalogue.generation
        live = sum(1 for row in catalogue.rows() if row.status == "running")
        if not catalogue.complete:
            status = f"reading {catalogue.scanned:,} of {catalogue.total:,} folders"
        else:
            status = f"{live} running" if live else ""
        any_runs = bool(generation)
        return (
            generation if generation != before else no_update,
            POLL_MS if catalogue.complete else FIRST_READ_MS,
            status,
            any_runs if any_runs != had_runs else no_update,
            catalogue.complete if catalogue.complete != all_read else no_update,
        )

    app.callback(
        Output("catalogue-generation", "data"),
        Output("poll", "interval"),
        Output("live", "children"),
        Output("any-runs", "data"),
        Output("all-read", "data"),
        Input("poll", "n_intervals"),
        State("catalogue-generation", "data"),
        State("any-runs", "data"),
        State("all-read", "data"),
    )(poll_catalogue)

    def poll_selected(
        generation: int, slots: list[str], before: Any, shown: str | None
    ) -> tuple[Any, Any, Any]:
        state = [
            [key, row.generation if (row := page.catalogue.row(key)) is not None else None]
            for key in slots or ()
            if key
        ]
        marks = chips(page, slots)
        update = (marks, found) if (found := digest(marks)) != shown else (no_update, no_update)
        return (state if state != before else no_update), *update

    app.callback(
        Output("selected-generations", "data"),
        Output("chips", "children"),
        Output("chips-shown", "data"),
        Input("catalogue-generation", "data"),
        Input("selected", "data"),
        State("selected-generations", "data"),
        State("chips-shown", "data"),
    )(poll_selected)


def _register_address(app: Dash) -> None:
    """Register the browser functions that collect the settings and write them into the URL."""
    app.clientside_callback(
        ClientsideFunction("ntrack", "collectSettings"),
        Output("settings", "data"),
        Input({"set": ALL}, "value"),
        State("settings", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("ntrack", "writeAddress"),
        Output("url-written", "data"),
        Input("tabs", "active_tab"),
        Input("selected", "data"),
        Input("settings", "data"),
        State("defaults", "data"),
    )

"""What the tabs share: controls, notices, and the selected runs of a chart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import dash_bootstrap_components as dbc
import flask
from dash import dcc, html

from neural.tracking.ui import palette
from neural.tracking.ui.charts import CONFIG, Figure, Member
from neural.tracking.ui.data.catalogue import Catalogue, Row
from neural.tracking.ui.data.comparing import labels
from neural.tracking.ui.data.series import SeriesStore

THEME_COOKIE = "ntrack_theme"
MARKS = {"created": "○", "running": "◐", "completed": "●", "failed": "✕", "unreadable": "!"}


class Page(NamedTuple):
    """The sources of data of every tab."""

    catalogue: Catalogue
    series: SeriesStore

    def chosen(self, slots: Sequence[str] | None) -> list[tuple[int, Row]]:
        """Return the readable selected runs, each with its slot."""
        found = []
        for slot, key in enumerate(slots or ()):
            row = self.catalogue.row(key) if key else None
            if row is not None and row.readable:
                found.append((slot, row))
        return found

    def problems(self, slots: Sequence[str] | None) -> list[tuple[str, str]]:
        """Return the selected runs that are missing, unreadable or damaged, each with the reason."""
        found = []
        for key in slots or ():
            row = self.catalogue.row(key) if key else None
            if key and row is None and self.catalogue.complete:
                found.append((key, "does not exist any more: it was deleted, or moved to another folder"))
            elif row is not None and row.problem:
                found.append((row.name, row.problem))
        return found


def theme() -> palette.Theme:
    """Return the theme that the browser uses, from its cookie. Only for use in a request."""
    return palette.theme_named(flask.request.cookies.get(THEME_COOKIE))


def members(chosen: Sequence[tuple[int, Row]]) -> list[Member]:
    """Return the runs with the names and slots that charts show."""
    names = labels([row for _, row in chosen])
    return [Member(slot, name, start_ns(row)) for (slot, row), name in zip(chosen, names, strict=True)]


def start_ns(row: Row) -> int:
    """Return the start of a run in nanoseconds since 1970; 0 if it is unknown."""
    if row.start is None:
        return 0
    return int(datetime.fromisoformat(row.start).timestamp() * 1e6) * 1000


def lasted(row: Row) -> float | None:
    """Return the duration of a run in seconds, up to now if it is running; None if it is unknown."""
    if row.duration_s is not None or row.status != "running":
        return row.duration_s
    return max(0.0, time.time() - start_ns(row) / 1e9)


def dot(slot: int) -> html.Span:
    """Return a dot in the colour of a run; the style sheet has the colours of both themes."""
    return html.Span(className=f"dot slot-{slot % len(palette.LIGHT)}", **{"aria-hidden": "true"})


def status(row: Row) -> html.Span:
    """Return the status of a run as a mark and a word, so that nobody needs to see the colour."""
    return html.Span(
        [html.Span(MARKS.get(row.status, "?"), **{"aria-hidden": "true"}), " ", row.status],
        className=f"status status-{row.status}",
    )


def setting(name: str) -> dict[str, str]:
    """Return the id of the control of a setting."""
    return {"set": name}


def segmented(name: str, options: dict[str, str], value: str, label: str) -> html.Div:
    """Return a control to choose one of a few options; ``options`` maps values to labels."""
    return html.Div(
        [
            html.Span(label, className="control-label"),
            dbc.RadioItems(
                id=setting(name),
                options=[{"label": shown, "value": key} for key, shown in options.items()],
                value=value,
                className="segmented",
                inputClassName="btn-check",
                labelClassName="btn btn-sm",
                labelCheckedClassName="active",
            ),
        ],
        className="control",
        role="group",
        **{"aria-label": label},
    )


def search_field(name: str, value: str, label: str, hint: str, kind: str) -> html.Label:
    """Return a search field; it sends its value when the user pauses."""
    field = dbc.Input(
        id=setting(name), value=value, debounce=350, type="search", placeholder=hint, maxLength=1000
    )
    return html.Label([html.Span(label, className="visually-hidden"), field], className=kind)


def graph(figure: Figure, name: str, **more: Any) -> html.Div:
    """Return a graph of a figure; ``name`` is its text for screen readers."""
    height = figure["layout"].get("height")
    style = {"height": f"{height}px"} if height else {}
    return html.Div(
        dcc.Graph(figure=figure, config=CONFIG, style=style, **more), role="figure", **{"aria-label": name}
    )


def notice(title: str, *lines: Any, kind: str = "empty") -> html.Div:
    """Return a notice for an empty place: the reason, and what to do."""
    return html.Div(
        [html.H2(title), *[line if hasattr(line, "to_plotly_json") else html.P(line) for line in lines]],
        className=f"notice notice-{kind}",
        role="status",
    )


def select_first() -> html.Div:
    """Return the notice of a tab while no run is selected."""
    return notice(
        "No run is selected yet",
        html.P(["Select some runs in the ", html.B("Runs"), " tab; two to five compare best."]),
        html.Button("Choose runs", className="btn btn-primary", type="button", **{"data-go": "runs"}),
    )


def problem_list(found: Sequence[tuple[str, str]]) -> html.Div | None:
    """Return a line for each (name, problem), at most eight; None if there are no problems."""
    if not found:
        return None
    return html.Div(
        [html.Div([html.B(name), " ", reason]) for name, reason in found[:8]],
        className="problems",
        role="alert",
    )


FIRST_RUN = """from neural.tracking import ExperimentTracker

with ExperimentTracker("first", base_dir={base_dir!r}) as tracker:
    tracker.log_hyperparameters({{"lr": 0.1}})
    for step in range(100):
        tracker.log_metrics({{"loss": 1 / (step + 1)}}, step=step)
"""


def first_run(base_dir: Path) -> html.Div:
    """Return the notice for a folder without runs."""
    exists = base_dir.is_dir()
    return notice(
        "No runs here yet",
        html.P(
            [
                "The folder ",
                html.Code(str(base_dir)),
                " has no runs." if exists else " does not exist yet.",
                " This code logs the first run; the run then appears here automatically:",
            ]
        ),
        html.Pre(FIRST_RUN.format(base_dir=str(base_dir)), className="code", tabIndex="0"),
        html.P(["For runs in another folder: ", html.Code("ntrack ui --base-dir FOLDER")]),
    )

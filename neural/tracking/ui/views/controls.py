"""What the tabs share: controls, notices, the selected runs as members of a chart."""

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
    """What every tab reads from."""

    catalogue: Catalogue
    series: SeriesStore

    def chosen(self, slots: Sequence[str] | None) -> list[tuple[int, Row]]:
        """Return the selected runs that are there, each with its slot."""
        found = []
        for slot, key in enumerate(slots or ()):
            row = self.catalogue.row(key) if key else None
            if row is not None and row.readable:
                found.append((slot, row))
        return found

    def gone(self, slots: Sequence[str] | None) -> list[tuple[str, str]]:
        """Return the selected runs that cannot be shown, each with the reason."""
        told = []
        for key in slots or ():
            row = self.catalogue.row(key) if key else None
            if key and row is None and self.catalogue.complete:
                told.append((key, "is not there any more: it was deleted, or lies in another folder"))
            elif row is not None and row.problem:
                told.append((row.name, row.problem))
        return told


def theme() -> palette.Theme:
    """Return the theme the browser shows."""
    return palette.theme_named(flask.request.cookies.get(THEME_COOKIE))


def members(chosen: Sequence[tuple[int, Row]]) -> list[Member]:
    """Return the runs as charts name and colour them."""
    names = labels([row for _, row in chosen])
    return [Member(slot, name, start_ns(row)) for (slot, row), name in zip(chosen, names, strict=True)]


def start_ns(row: Row) -> int:
    """Return when a run began, nanoseconds since 1970."""
    if row.start is None:
        return 0
    return int(datetime.fromisoformat(row.start).timestamp() * 1e6) * 1000


def lasted(row: Row) -> float | None:
    """Return how long a run took, of one that runs how long it does already."""
    if row.duration_s is not None or row.status != "running":
        return row.duration_s
    return max(0.0, time.time() - start_ns(row) / 1e9)


def dot(slot: int) -> html.Span:
    """Return the mark of a run's colour; the style sheet has the colours of both themes."""
    return html.Span(className=f"dot slot-{slot % len(palette.LIGHT)}", **{"aria-hidden": "true"})


def status(row: Row) -> html.Span:
    """Return a run's status: a mark and a word, so that nobody needs the colour."""
    return html.Span(
        [html.Span(MARKS.get(row.status, "?"), **{"aria-hidden": "true"}), " ", row.status],
        className=f"status status-{row.status}",
    )


def setting(name: str) -> dict[str, str]:
    """Return the id of a control that a setting of the URL belongs to."""
    return {"set": name}


def segmented(name: str, options: dict[str, str], value: str, label: str) -> html.Div:
    """Return a choice of one of few."""
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
    """Return a field to type a search into; it asks once the typing pauses."""
    field = dbc.Input(
        id=setting(name), value=value, debounce=350, type="search", placeholder=hint, maxLength=1000
    )
    return html.Label([html.Span(label, className="visually-hidden"), field], className=kind)


def graph(figure: Figure, name: str, **more: Any) -> html.Div:
    """Return a figure with a name for those who cannot see it."""
    height = figure["layout"].get("height")
    style = {"height": f"{height}px"} if height else {}
    return html.Div(
        dcc.Graph(figure=figure, config=CONFIG, style=style, **more), role="figure", **{"aria-label": name}
    )


def notice(title: str, *lines: Any, kind: str = "empty") -> html.Div:
    """Return what stands where there is nothing to show: what is so, and what to do."""
    return html.Div(
        [html.H2(title), *[line if hasattr(line, "to_plotly_json") else html.P(line) for line in lines]],
        className=f"notice notice-{kind}",
        role="status",
    )


def select_first() -> html.Div:
    """Return what a tab says while no run is selected."""
    return notice(
        "No run is selected yet",
        html.P(["Tick some runs in the ", html.B("Runs"), " tab; two to five compare best."]),
        html.Button("Choose runs", className="btn btn-primary", type="button", **{"data-go": "runs"}),
    )


def trouble(found: Sequence[tuple[str, str]]) -> html.Div | None:
    """Return a line for each run that cannot be shown, or shown in part."""
    if not found:
        return None
    return html.Div(
        [html.Div([html.B(name), " ", reason]) for name, reason in found[:8]], className="trouble", role="alert"
    )


FIRST_RUN = """from neural.tracking import ExperimentTracker

with ExperimentTracker("first", base_dir={base_dir!r}) as tracker:
    tracker.log_hyperparameters({{"lr": 0.1}})
    for step in range(100):
        tracker.log_metrics({{"loss": 1 / (step + 1)}}, step=step)
"""


def first_run(base_dir: Path) -> html.Div:
    """Return what the page says where there is no run at all."""
    there = base_dir.is_dir()
    return notice(
        "No runs here yet",
        html.P(
            [
                "The folder ",
                html.Code(str(base_dir)),
                " holds no runs." if there else " is not there yet.",
                " This logs the first one; it shows up here by itself:",
            ]
        ),
        html.Pre(FIRST_RUN.format(base_dir=str(base_dir)), className="code", tabIndex="0"),
        html.P(["Runs elsewhere? ", html.Code("ntrack ui --base-dir FOLDER")]),
    )

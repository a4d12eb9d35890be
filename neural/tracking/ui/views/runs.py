"""The table of all runs: sorted, filtered by an expression, with the columns one chooses; live."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import dash_ag_grid as dag
import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, Patch, State, dcc, html, no_update

from neural.tracking.errors import QueryError
from neural.tracking.ui.address import PageAddress
from neural.tracking.ui.data.catalogue import Row
from neural.tracking.ui.data.comparing import goal_of, metric_names, parameters
from neural.tracking.ui.data.query import compile_query
from neural.tracking.ui.views import parts
from neural.tracking.ui.views.parts import Page, setting

MAX_OPTIONS = 600
FIRST = 300  # rows sent at once; of thousands, the rest comes after these are seen
LOOKED_AT = 300  # rows: enough to see which parameters differ
NAMED = {
    "status": "status",
    "start": "started",
    "took": "took",
    "calls": "calls",
    "tags": "tags",
    "id": "id",
    "group": "group",
    "notes": "notes",
}
EXAMPLES = (
    ("resnet", "a word: in name, id, group or tags"),
    ('status == "completed" and lr < 0.01', "parameters by their names"),
    ("val/loss.min < 0.3", "a metric’s last value; .min and .max"),
    ('"baseline" in tags or group contains "sweep"', "and, or, not, brackets"),
    ("0.001 < `odd name` <= 0.1", "backticks around odd names"),
)


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab; the rows come with the first answer."""
    return html.Div(
        [
            html.Div(
                [
                    parts.search_field(
                        "q",
                        at.settings["q"],
                        "filter of the runs",
                        'Filter: lr < 0.01 and status == "completed"',
                        "filter",
                    ),
                    html.Button(
                        "?", id="filter-help", className="btn btn-quiet", type="button", title="how to filter"
                    ),
                    dcc.Dropdown(
                        id=setting("cols"),
                        # What is no option would be dropped from the address before the others come.
                        options=at.settings["cols"],
                        value=at.settings["cols"],
                        multi=True,
                        placeholder="Columns: chosen by what differs",
                        className="columns-choice",
                        closeOnSelect=False,
                        maxHeight=320,
                    ),
                    html.Span(id="runs-count", className="count", role="status"),
                ],
                className="toolbar",
            ),
            html.Div(id="filter-told", className="filter-told", role="alert"),
            dbc.Popover(
                [
                    dbc.PopoverHeader("Filter"),
                    dbc.PopoverBody(
                        [
                            html.Div([html.Code(code), html.Span(told)], className="example")
                            for code, told in EXAMPLES
                        ]
                    ),
                ],
                target="filter-help",
                trigger="legacy",
                placement="bottom",
            ),
            html.Div(id="runs-trouble"),
            html.Div(_grid(at), id="runs-table", className="table-room"),
            dcc.Store(id="row-changes"),
            dcc.Store(id="more-rows"),
            dcc.Store(id="grid-generation"),
        ],
        className="view view-runs",
    )


def _grid(at: PageAddress) -> dag.AgGrid:
    return dag.AgGrid(
        id="grid",
        columnDefs=[],
        rowData=[],
        getRowId="params.data.key",
        selectedRows={"ids": [key for key in at.runs if key]},
        className="runs-grid",
        dashGridOptions={
            "theme": {"function": "themeQuartz.withParams(ntrackTheme)"},
            "rowSelection": {
                "mode": "multiRow",
                "enableClickSelection": False,
                "selectAll": "filtered",
                "headerCheckbox": False,
            },
            "selectionColumnDef": {"pinned": "left", "width": 42},
            "suppressFieldDotNotation": True,
            "suppressColumnMoveAnimation": True,
            "animateRows": False,
            "rowHeight": 34,
            "headerHeight": 34,
            "enableCellTextSelection": True,
            "localeText": {"noRowsToShow": "No run passes the filter"},
            "loading": True,
        },
        defaultColDef={"sortable": True, "resizable": True, "minWidth": 70, "suppressHeaderMenuButton": True},
        style={"height": "var(--table-height)"},
    )


def options(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return the columns one can choose."""
    found = [{"label": shown, "value": name} for name, shown in NAMED.items()]
    differing, constant = parameters(rows[:LOOKED_AT])
    for name in [*differing, *constant]:
        found.append({"label": f"{name}  (parameter)", "value": f"p:{name}"})
    for name in metric_names(rows[:LOOKED_AT]):
        for what in ("last", "min", "max"):
            found.append({"label": f"{name}  ({what})", "value": f"m:{what}:{name}"})
    return found[:MAX_OPTIONS]


def usual_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns shown when none were chosen: what differs, and the metrics worth a glance."""
    seen = rows[:LOOKED_AT]
    differing = [name for name in parameters(seen)[0] if any(name in row.params for row in seen)]
    values = {name: {repr(row.params[name]) for row in seen if name in row.params} for name in differing}
    # What differs only in that some runs lack it says least; and a value of its own in nearly every run
    # (a seed, a path) says little beside the others.
    telling = sorted(differing, key=lambda name: (len(values[name]) < 2, len(values[name]) > len(seen) * 0.9))
    metrics = metric_names(seen)[:3]
    found = ["status", "start", "took"]
    for name in metrics:
        found.append(f"m:last:{name}")
    for name in metrics[:2]:
        if goal := goal_of(name):
            found.append(f"m:{goal}:{name}")
    return [*found, *[f"p:{name}" for name in telling[:5]], "tags", "id"]


def column_defs(columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the grid's columns; fields are ``v0``, ``v1`` …, so that no name can mean anything to the grid."""
    found: list[dict[str, Any]] = [
        {
            "field": "name",
            "headerName": "name",
            "pinned": "left",
            "width": 220,
            "cellRenderer": "RunName",
            "tooltipField": "problem",
        }
    ]
    for place, column in enumerate(columns):
        kind, _, rest = column.partition(":")
        definition: dict[str, Any] = {"field": f"v{place}", "colId": column}
        if kind == "m":
            what, _, name = rest.partition(":")
            definition |= {
                "headerName": name if what == "last" else f"{what} {name}",
                "headerTooltip": f"{what} of {name}",
                "width": 124,
                "type": "rightAligned",
                "valueFormatter": {"function": "ntrackNumber(params.value)"},
                "comparator": {"function": "ntrackCompare"},
            }
        elif kind == "p":
            definition |= {
                "headerName": rest,
                "headerTooltip": f"parameter {rest}",
                "width": 112,
                "cellClass": "parameter",
                "valueFormatter": {"function": "ntrackValue(params.value)"},
                "comparator": {"function": "ntrackCompare"},
            }
        else:
            definition |= {"headerName": NAMED.get(column, column), "width": 104} | _special(column)
        found.append(definition)
    return found


def _special(column: str) -> dict[str, Any]:
    if column == "status":
        return {"cellRenderer": "RunStatus", "width": 116}
    if column == "start":
        return {"valueFormatter": {"function": "ntrackWhen(params.value)"}, "width": 152, "sort": "desc"}
    if column == "took":
        return {
            "valueFormatter": {"function": "ntrackTook(params.value)"},
            "type": "rightAligned",
            "width": 108,
        }
    if column == "calls":
        return {"valueFormatter": {"function": "ntrackNumber(params.value)"}, "type": "rightAligned"}
    return {"width": 160, "tooltipField": None} if column in ("tags", "notes") else {}


def row_data(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """Return what the grid holds of a run."""
    found: dict[str, Any] = {"key": row.key, "name": row.name, "status": row.status}
    if row.problem:
        found["problem"] = row.problem
    for place, column in enumerate(columns):
        found[f"v{place}"] = _cell(row, column)
    return found


def _cell(row: Row, column: str) -> Any:
    kind, _, rest = column.partition(":")
    if kind == "m":
        what, _, name = rest.partition(":")
        return (row.metrics.get(name) or {}).get(what)
    if kind == "p":
        value = row.params.get(rest)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return value if value is None or isinstance(value, str | int | float) else str(value)
    own: dict[str, Any] = {
        "status": row.status,
        "start": row.start,
        "took": parts.lasted(row),
        "calls": row.calls,
        "id": row.id,
        "tags": ", ".join(row.tags),
        "group": row.group,
        "notes": row.notes,
    }
    return own.get(column)


def _loading(now: bool) -> Patch:
    changed = Patch()
    changed["loading"] = now
    return changed


def register(app: Dash, page: Page) -> None:
    """Add the tab's answers."""

    def rows(text: str, columns: list[str]) -> tuple[Any, ...]:
        generation = page.catalogue.generation  # before the rows: what comes meanwhile comes again
        every = page.catalogue.rows()
        shown_columns = columns or usual_columns(every)
        try:
            passes = compile_query(text or "")
        except QueryError as error:
            return (no_update,) * 5 + (str(error), no_update, True, no_update)
        passing = [row for row in every if passes(row)]
        told = f"{len(passing):,} of {len(every):,} runs" if text else f"{len(every):,} runs"
        return (
            column_defs(shown_columns),
            [row_data(row, shown_columns) for row in passing[:FIRST]],
            _loading(not every and not page.catalogue.complete),
            options(every),
            told,
            "",
            generation,
            False,
            {"text": text, "columns": shown_columns} if len(passing) > FIRST else None,
        )

    app.callback(
        Output("grid", "columnDefs"),
        Output("grid", "rowData"),
        Output("grid", "dashGridOptions"),
        Output(setting("cols"), "options"),
        Output("runs-count", "children"),
        Output("filter-told", "children"),
        Output("grid-generation", "data"),
        Output(setting("q"), "invalid"),
        Output("more-rows", "data"),
        Input(setting("q"), "value"),
        Input(setting("cols"), "value"),
    )(rows)

    def more(wanted: dict[str, Any] | None) -> Any:
        if not wanted:
            return no_update
        passes = compile_query(wanted["text"] or "")
        rest = [row for row in page.catalogue.rows() if passes(row)]
        # Some that were sent are sent again: should a run have gone meanwhile, none is left out.
        return {"rows": [row_data(row, wanted["columns"]) for row in rest[FIRST - 50 :]], "gone": []}

    app.callback(
        Output("row-changes", "data", allow_duplicate=True),
        Input("more-rows", "data"),
        prevent_initial_call=True,
    )(more)

    def live(beat: Any, text: str, columns: list[str], since: int | None, shown: Any) -> Any:
        generation = page.catalogue.generation
        changed, gone = page.catalogue.changes(since or 0)
        if since is None or not (changed or gone):
            return no_update, no_update, no_update
        every = page.catalogue.rows()
        try:
            passes = compile_query(text or "")
        except QueryError:
            return no_update, no_update, no_update
        shown_columns = columns or [definition["colId"] for definition in shown or () if "colId" in definition]
        wanted = [row for row in changed if passes(row)]
        out = [row.key for row in changed if not passes(row)]
        passing = sum(1 for row in every if passes(row)) if text else len(every)
        told = f"{passing:,} of {len(every):,} runs" if text else f"{len(every):,} runs"
        changes = {"rows": [row_data(row, shown_columns) for row in wanted], "gone": [*gone, *out]}
        return changes, generation, told

    app.callback(
        Output("row-changes", "data"),
        Output("grid-generation", "data", allow_duplicate=True),
        Output("runs-count", "children", allow_duplicate=True),
        Input("beat", "data"),
        State(setting("q"), "value"),
        State(setting("cols"), "value"),
        State("grid-generation", "data"),
        State("grid", "columnDefs"),
        prevent_initial_call=True,
    )(live)

    app.clientside_callback(
        ClientsideFunction("ntrack", "applyRows"), Output("runs-table", "title"), Input("row-changes", "data")
    )
    app.clientside_callback(
        ClientsideFunction("ntrack", "rowsCame"), Output("runs-count", "title"), Input("grid", "rowData")
    )
    app.clientside_callback(
        ClientsideFunction("ntrack", "selectRows"),
        Output("selected", "data", allow_duplicate=True),
        Input("grid", "selectedRows"),
        State("selected", "data"),
        prevent_initial_call=True,
    )

    def unreadable(beat: Any) -> Any:
        found = [(row.folder.name, row.problem) for row in page.catalogue.rows() if row.problem]
        return parts.trouble([(name, problem or "") for name, problem in found])

    app.callback(Output("runs-trouble", "children"), Input("beat", "data"))(unreadable)

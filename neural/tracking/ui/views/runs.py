"""The tab of runs: a live table with sorting, a filter and a choice of columns."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, Patch, State, dcc, html, no_update

from neural.tracking.errors import QueryError
from neural.tracking.ui.address import PageAddress
from neural.tracking.ui.data.query import compile_query
from neural.tracking.ui.views import controls
from neural.tracking.ui.views.controls import Page, setting
from neural.tracking.ui.views.run_columns import column_defs, options, row_data, usual_columns

FIRST = 300  # rows in the first answer; the others follow when these are visible
EXAMPLES = (
    ("resnet", "a word: searches name, id, group and tags"),
    ('status == "completed" and lr < 0.01', "parameters by name"),
    ("val/loss.min < 0.3", "the last value of a metric; also .min and .max"),
    ('"baseline" in tags or group contains "sweep"', "and, or, not, brackets"),
    ("0.001 < `odd name` <= 0.1", "backticks for names with spaces or symbols"),
)


def layout(page: Page, at: PageAddress) -> html.Div:
    """Return the tab without rows; the first callback adds them."""
    return html.Div(
        [
            html.Div(
                [
                    controls.search_field(
                        "q",
                        at.settings["q"],
                        "filter of the runs",
                        'Filter: lr < 0.01 and status == "completed"',
                        "filter",
                    ),
                    html.Button(
                        "?",
                        id="filter-help",
                        className="btn btn-quiet",
                        type="button",
                        title="help on the filter",
                    ),
                    dcc.Dropdown(
                        id=setting("cols"),
                        # Dash would remove a value that is not an option from the address.
                        options=at.settings["cols"],
                        value=at.settings["cols"],
                        multi=True,
                        placeholder="Columns: default",
                        className="columns-choice",
                        closeOnSelect=False,
                        maxHeight=320,
                    ),
                    html.Span(id="runs-count", className="count", role="status"),
                ],
                className="toolbar",
            ),
            html.Div(id="filter-error", className="filter-error", role="alert"),
            dbc.Popover(
                [
                    dbc.PopoverHeader("Filter"),
                    dbc.PopoverBody(
                        [
                            html.Div([html.Code(code), html.Span(meaning)], className="example")
                            for code, meaning in EXAMPLES
                        ]
                    ),
                ],
                target="filter-help",
                trigger="legacy",
                placement="bottom",
            ),
            html.Div(id="runs-problems"),
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


def _loading(now: bool) -> Patch:
    changed = Patch()
    changed["loading"] = now
    return changed


def register(app: Dash, page: Page) -> None:
    """Add the callbacks of the tab."""
    _register_table(app, page)
    _register_more(app, page)
    _register_changes(app, page)
    _register_grid(app)

    def unreadable(generation: Any) -> Any:
        found = [(row.folder.name, row.problem) for row in page.catalogue.rows() if row.problem]
        return controls.problem_list([(name, problem or "") for name, problem in found])

    app.callback(Output("runs-problems", "children"), Input("catalogue-generation", "data"))(unreadable)


def _register_table(app: Dash, page: Page) -> None:
    """Register the callback that returns the first rows for a filter and columns."""

    def rows(text: str, columns: list[str]) -> tuple[Any, ...]:
        generation = (
            page.catalogue.generation
        )  # read before the rows: rows that change meanwhile are sent again
        every = page.catalogue.rows()
        shown_columns = columns or usual_columns(every)
        try:
            passes = compile_query(text or "")
        except QueryError as error:
            return (no_update,) * 5 + (str(error), no_update, True, no_update)
        passing = [row for row in every if passes(row)]
        count = f"{len(passing):,} of {len(every):,} runs" if text else f"{len(every):,} runs"
        return (
            column_defs(shown_columns),
            [row_data(row, shown_columns) for row in passing[:FIRST]],
            _loading(not every and not page.catalogue.complete),
            options(every),
            count,
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
        Output("filter-error", "children"),
        Output("grid-generation", "data"),
        Output(setting("q"), "invalid"),
        Output("more-rows", "data"),
        Input(setting("q"), "value"),
        Input(setting("cols"), "value"),
    )(rows)


def _register_more(app: Dash, page: Page) -> None:
    """Register the callback that sends the other rows after the first."""

    def more(wanted: dict[str, Any] | None) -> Any:
        if not wanted:
            return no_update
        passes = compile_query(wanted["text"] or "")
        rest = [row for row in page.catalogue.rows() if passes(row)]
        # The last 50 rows are sent again, so that none is missing if a run was removed meanwhile.
        return {"rows": [row_data(row, wanted["columns"]) for row in rest[FIRST - 50 :]], "gone": []}

    app.callback(
        Output("row-changes", "data", allow_duplicate=True),
        Input("more-rows", "data"),
        prevent_initial_call=True,
    )(more)


def _register_changes(app: Dash, page: Page) -> None:
    """Register the callback that sends changed rows."""

    def live(polled: Any, text: str, columns: list[str], since: int | None, shown: Any) -> Any:
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
        count = f"{passing:,} of {len(every):,} runs" if text else f"{len(every):,} runs"
        changes = {"rows": [row_data(row, shown_columns) for row in wanted], "gone": [*gone, *out]}
        return changes, generation, count

    app.callback(
        Output("row-changes", "data"),
        Output("grid-generation", "data", allow_duplicate=True),
        Output("runs-count", "children", allow_duplicate=True),
        Input("catalogue-generation", "data"),
        State(setting("q"), "value"),
        State(setting("cols"), "value"),
        State("grid-generation", "data"),
        State("grid", "columnDefs"),
        prevent_initial_call=True,
    )(live)


def _register_grid(app: Dash) -> None:
    """Register the browser functions that apply rows and selections to the grid."""
    app.clientside_callback(
        ClientsideFunction("ntrack", "applyRows"), Output("runs-table", "title"), Input("row-changes", "data")
    )
    app.clientside_callback(
        ClientsideFunction("ntrack", "rowsArrived"), Output("runs-count", "title"), Input("grid", "rowData")
    )
    app.clientside_callback(
        ClientsideFunction("ntrack", "selectRows"),
        Output("selected", "data", allow_duplicate=True),
        Input("grid", "selectedRows"),
        State("selected", "data"),
        prevent_initial_call=True,
    )

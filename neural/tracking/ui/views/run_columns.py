"""The columns of the table of runs: all columns, the default columns, and their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from neural.tracking.ui.data.catalogue import Row
from neural.tracking.ui.data.comparing import goal_of, metric_names, parameters
from neural.tracking.ui.views import controls

MAX_OPTIONS = 600
SAMPLED_ROWS = 300  # enough rows to find the parameters that differ
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


def options(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return the columns that a user can choose, at most 600."""
    found = [{"label": shown, "value": name} for name, shown in NAMED.items()]
    differing, constant = parameters(rows[:SAMPLED_ROWS])
    for name in [*differing, *constant]:
        found.append({"label": f"{name}  (parameter)", "value": f"p:{name}"})
    for name in metric_names(rows[:SAMPLED_ROWS]):
        for what in ("last", "min", "max"):
            found.append({"label": f"{name}  ({what})", "value": f"m:{what}:{name}"})
    return found[:MAX_OPTIONS]


def usual_columns(rows: Sequence[Row]) -> list[str]:
    """Return the default columns: parameters that differ, and the most informative metrics."""
    seen = rows[:SAMPLED_ROWS]
    differing = [name for name in parameters(seen)[0] if any(name in row.params for row in seen)]
    values = {name: {repr(row.params[name]) for row in seen if name in row.params} for name in differing}
    # Less informative: parameters with one value that only some runs have, and parameters with a different
    # value in nearly every run (a seed, a path).
    informative = sorted(
        differing, key=lambda name: (len(values[name]) < 2, len(values[name]) > len(seen) * 0.9)
    )
    metrics = metric_names(seen)[:3]
    found = ["status", "start", "took"]
    for name in metrics:
        found.append(f"m:last:{name}")
    for name in metrics[:2]:
        if goal := goal_of(name):
            found.append(f"m:{goal}:{name}")
    return [*found, *[f"p:{name}" for name in informative[:5]], "tags", "id"]


def column_defs(columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns of the grid; fields are ``v0``, ``v1`` …, since the grid interprets names."""
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
    """Return the cells of a run for the grid."""
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
        "took": controls.lasted(row),
        "calls": row.calls,
        "id": row.id,
        "tags": ", ".join(row.tags),
        "group": row.group,
        "notes": row.notes,
    }
    return own.get(column)

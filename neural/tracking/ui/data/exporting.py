"""Exports the comparison as files. No spreadsheet takes exported text for a formula."""

from __future__ import annotations

import csv
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neural.tracking.formats.event_lines import json_value
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.run import Run
from neural.tracking.ui.data.catalogue import UNREADABLE, Row
from neural.tracking.ui.data.comparing import goal_of, metric_names, parameters
from neural.tracking.ui.data.query import number
from neural.tracking.ui.data.series import SeriesStore
from neural.tracking.ui.text import csv_cell

_CHUNK = 20_000
TYPES = {
    "comparison.csv": "text/csv; charset=utf-8",
    "runs.csv": "text/csv; charset=utf-8",
    "comparison.json": "application/json",
    "comparison.html": "text/html; charset=utf-8",
    "comparison.zip": "application/zip",
}
_drawing = threading.Lock()  # matplotlib's settings are global: only one comparison at a time


def export(name: str, base_dir: Path, rows: Sequence[Row], series: SeriesStore) -> Iterator[bytes]:
    """Return the pieces of the export named ``name``, one of ``TYPES``. Blocks while it reads and draws.

    Raises:
        KeyError: there is no export of this name.
        OSError, FormatError: a run cannot be read (HTML and ZIP; CSV has the error in its line).
    """
    if name == "comparison.csv":
        return values_csv(rows, series)
    if name == "runs.csv":
        return iter([runs_csv(rows).encode()])
    if name == "comparison.json":
        return iter([comparison_json(base_dir, rows).encode()])
    if name in ("comparison.html", "comparison.zip"):
        return iter([drawn(name, rows)])
    raise KeyError(name)


def drawn(name: str, rows: Sequence[Row]) -> bytes:
    """Return the HTML page or the ZIP archive of plots, as ``export_comparison`` makes them.

    Raises:
        OSError, FormatError: a run cannot be read.
    """
    from neural.tracking.figures.report import PAGE, export
    from neural.tracking.figures.run_comparison import Comparison

    with _drawing, TemporaryDirectory(prefix="ntrack-ui-") as temporary:
        folder = export(Comparison([Run(row.folder) for row in rows], None), Path(temporary) / "comparison")
        if name == "comparison.html":
            return (folder / PAGE).read_bytes()
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(folder.glob("*.png")):
                archive.write(path, path.name)
        return out.getvalue()


def values_csv(rows: Sequence[Row], series: SeriesStore) -> Iterator[bytes]:
    """Yield CSV with a line for each value of each metric of each run, in the order of logging."""
    yield b"run,id,metric,step,time,rank,value\r\n"
    for row in rows:
        if row.problem:
            yield _lines([[csv_cell(row.name), row.id, "", "", "", "", csv_cell(f"unreadable: {row.problem}")]])
        for metric in sorted(row.metrics):
            try:
                columns = series.columns(row.folder, metric)
            except UNREADABLE as error:
                yield _lines([[row.name, row.id, metric, "", "", "", f"unreadable: {error}"]])
                continue
            head = [csv_cell(row.name), csv_cell(row.id), csv_cell(metric)]
            for start in range(0, len(columns), _CHUNK):
                part = columns.take(slice(start, start + _CHUNK))
                stamps = np.datetime_as_string(part.time_ns.astype("M8[ns]").astype("M8[us]"), timezone="UTC")
                yield _lines(
                    [
                        [*head, "" if step == NO_STEP else step, stamp, rank, repr(value)]
                        for step, stamp, rank, value in zip(
                            part.step.tolist(),
                            stamps.tolist(),
                            part.rank.tolist(),
                            part.value.tolist(),
                            strict=True,
                        )
                    ]
                )


def _lines(lines: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue().encode()


def runs_csv(rows: Sequence[Row]) -> str:
    """Return CSV with a line for each run: its facts, parameters, and last, min and max of each metric."""
    differing, constant = parameters(rows)
    metrics = metric_names(rows)
    head = ["run", "id", "status", "start", "end", "duration_s", "tags", "group", "notes"]
    head += [f"param {name}" for name in [*differing, *constant]]
    head += [f"{what} {name}" for name in metrics for what in ("last", "min", "max")]
    out = io.StringIO()
    write = csv.writer(out).writerow
    write([csv_cell(title) for title in head])
    for row in rows:
        status = f"{row.status}; {row.problem}" if row.problem else row.status
        cells: list[Any] = [row.name, row.id, status, row.start, row.end, row.duration_s]
        cells += [", ".join(row.tags), row.group, row.notes]
        cells += [row.params.get(name) for name in [*differing, *constant]]
        cells += [number((row.metrics.get(n) or {}).get(w)) for n in metrics for w in ("last", "min", "max")]
        write([csv_cell(cell) for cell in cells])
    return out.getvalue()


def comparison_json(base_dir: Path, rows: Sequence[Row]) -> str:
    """Return the runs with their parameters and metrics as JSON, for scripts."""
    differing, _ = parameters(rows)
    content = {
        "made": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "base_dir": str(base_dir),
        "differing_parameters": differing,
        "goals": {name: goal_of(name) for name in metric_names(rows)},
        "runs": [
            {
                "experiment_name": row.name,
                "experiment_id": row.id,
                "status": row.status,
                "start_time": row.start,
                "end_time": row.end,
                "duration_s": row.duration_s,
                "tags": list(row.tags),
                "group": row.group,
                "notes": row.notes,
                "hyperparameters": row.params,
                "metrics": row.metrics,
                "problem": row.problem,
            }
            for row in rows
        ],
    }
    return json.dumps(json_value(content), indent=2, ensure_ascii=False, allow_nan=False)

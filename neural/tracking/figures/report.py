"""Writes a comparison as a folder: plots, a summary for scripts, and one self-contained HTML page."""

from __future__ import annotations

import base64
import time
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.core.files import atomic_write, write_json
from neural.tracking.core.times import iso_time
from neural.tracking.formats.event_lines import json_value

if TYPE_CHECKING:
    from neural.tracking.figures.run_comparison import Comparison

PAGE, SUMMARY = "comparison.html", "comparison_summary.json"


def comparisons_folder(base_dir: Path) -> Path:
    """Return a new path below ``<base_dir>/comparisons``; the folder is not created."""
    root = base_dir / "comparisons"
    name = f"comparison_{time.strftime('%Y%m%d_%H%M%S')}"
    number, chosen = 2, name
    while (root / chosen).exists():
        number, chosen = number + 1, f"{name}_{number}"
    return root / chosen


def export(comparison: Comparison, folder: Path) -> Path:
    """Write plots, summary and page into the folder and return it; create it if it is missing.

    Blocks while it reads the runs, draws and writes.

    Raises:
        OSError: a file cannot be written.
        FormatError: a run's points are damaged.
    """
    from neural.tracking.figures.names import file_name
    from neural.tracking.figures.saving import rendered

    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    images: dict[str, bytes] = {}
    for plot in comparison.plots():
        files[plot.name] = file_name(plot.name, (name[:-4] for name in files.values())) + ".png"
        images[plot.name] = rendered(plot.draw())
        atomic_write(folder / files[plot.name], images[plot.name], durable=False)
    made = iso_time(time.time_ns())
    summary = {"created": made, **comparison.summary(), "files": files}
    write_json(folder / SUMMARY, json_value(summary), durable=False)
    page = _page(comparison, images, made or "")
    atomic_write(folder / PAGE, page.encode("utf-8", "backslashreplace"), durable=False)
    return folder


def _page(comparison: Comparison, images: dict[str, bytes], made: str) -> str:
    from neural.tracking.figures.run_comparison import BEST, PARAMETERS

    curves = [name for name in images if name not in (BEST, PARAMETERS)]
    names = ", ".join(comparison.labels)
    body = [
        f"<h1>Comparison of {len(comparison.runs)} runs</h1>",
        f"<p class=faint>{escape(names)} · made {escape(made[:19].replace('T', ' '))} UTC</p>",
        "<h2>Runs</h2>",
        _runs_table(comparison),
        "<h2>Best values</h2>",
        _best_table(comparison),
        "<h2>Parameters</h2>",
        _parameters_table(comparison),
        "<h2>Metrics</h2>",
        *(_image(name.removeprefix("comparison_"), images[name]) for name in curves),
        _image("Best values", images[BEST]),
    ]
    if comparison.left_out:
        left = ", ".join(comparison.left_out[:200])
        body.append(f"<p class=faint>{len(comparison.left_out)} metrics left out: {escape(left)}</p>")
    title = escape(f"Comparison: {names}"[:200])
    return _TEMPLATE.replace("{title}", title).replace("{body}", "\n".join(body))


def _runs_table(comparison: Comparison) -> str:
    rows = []
    for run in comparison.runs:
        took = "–" if run.end_ns is None else _duration(run.end_ns - run.start_ns)
        began = (iso_time(run.start_ns) or "–")[:19].replace("T", " ")
        rows.append([run.name, run.id, run.status, began, took, " ".join(run.tags)])
    return _table(["name", "id", "status", "started (UTC)", "took", "tags"], rows)


def _duration(time_ns: int) -> str:
    return f"{time_ns / 1e9:.1f} s" if time_ns < 60e9 else str(timedelta(seconds=round(time_ns / 1e9)))


def _best_table(comparison: Comparison) -> str:
    from neural.tracking.core.metric_direction import better
    from neural.tracking.figures.run_comparison import BETTER_WORDS
    from neural.tracking.figures.texts import number

    rows: list[list[str]] = []
    marks: set[tuple[int, int]] = set()
    for name in comparison.metrics:
        points = comparison.best(name)
        best_run = comparison.best_run(name)
        if best_run is not None and len(points) > 1:
            marks.add((len(rows), best_run + 2))
        cells = ["–" if p is None else f"{number(p.y)} @ {int(p.x)}" for p in points]
        rows.append([name, BETTER_WORDS[better(name)], *cells])
    table = _table(["metric", "better is", *comparison.labels], rows, marks)
    if all(map(better, comparison.metrics)):
        return table
    note = "unknown: the metric's name does not say which way is better, so no run is marked as the best"
    return f"{table}<p class=faint>{note}</p>"


def _parameters_table(comparison: Comparison) -> str:
    from neural.tracking.figures.parameters import table_rows, value_text

    rows: list[list[str]] = []
    marks: set[tuple[int, int]] = set()
    for name, values, differs in table_rows(comparison.parameters):
        if differs:
            marks |= {(len(rows), column) for column in range(1, len(values) + 1)}
        rows.append([name, *map(value_text, values)])
    return _table(["parameter", *comparison.labels], rows, marks) if rows else "<p class=faint>none logged</p>"


def _table(head: list[str], rows: list[list[str]], marks: set[tuple[int, int]] | None = None) -> str:
    """Return an HTML table of the texts; the cells of ``marks`` (row, column) are highlighted."""
    if not rows:
        return "<p class=faint>nothing logged</p>"
    lines = [
        "<div class=wide><table><thead><tr>",
        *(f"<th>{escape(cell)}</th>" for cell in head),
        "</tr></thead>",
    ]
    for number, row in enumerate(rows):
        cells = (
            f"<td{' class=mark' if (number, column) in (marks or ()) else ''}>{escape(cell)}</td>"
            for column, cell in enumerate(row)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table></div>"])


def _image(name: str, png: bytes) -> str:
    source = base64.b64encode(png).decode()
    return f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{source}"></figure>'


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #1f2328; background: #fff;
  max-width: 1120px; margin: 2rem auto; padding: 0 1.2rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.faint { color: #57606a; } .mark { color: #0072b2; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0;
  border-bottom: 1px solid #eaeef2; min-width: 6.5rem; max-width: 26rem; overflow-wrap: anywhere; }
th { font-weight: 600; border-bottom: 2px solid #d0d7de; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; border: 1px solid #eaeef2; border-radius: 6px; }
@media print { body { max-width: none; margin: 0; } figure, tr { break-inside: avoid; } }
</style>
</head>
<body>
{body}
</body>
</html>
"""

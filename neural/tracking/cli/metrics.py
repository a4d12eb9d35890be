"""``ntrack metrics``: the values of a run as a table, JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from neural.tracking.cli import output
from neural.tracking.cli.select import one_run
from neural.tracking.figures.names import most_informative_first

if TYPE_CHECKING:
    from neural.tracking.reader.columns import Columns
    from neural.tracking.reader.run import Run

MAX_COLUMNS = 8
RANKS_HELP = (
    "If a run has several ranks: their mean (default), min or max at each step, all points, or one rank."
)
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class RanksType(click.ParamType[str | int]):
    """``mean``, ``min``, ``max``, ``all``, or the number of a rank."""

    name = "ranks"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Return one of the words, or the rank as a number; fails for other values."""
        if value in ("mean", "min", "max", "all"):
            return str(value)
        if str(value).isdecimal():
            return int(value)
        self.fail(f"{value!r} is not mean, min, max, all or the number of a rank", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the values that the help text shows."""
        return "[mean|min|max|all|RANK]"


@click.command()
@click.argument("run", required=False)
@click.argument("name", nargs=-1)
@click.option("--ranks", type=RanksType(), default="mean", help=RANKS_HELP)
@click.option(
    "--last",
    "-n",
    type=click.IntRange(min=1),
    help="Print only the last N steps or points; the table default is 20.",
)
@click.option("--all", "everything", is_flag=True, help="Print the whole table.")
@output.json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV that is safe in a spreadsheet.")
@output.base_dir_option
def metrics(
    run: str | None,
    name: tuple[str, ...],
    ranks: str | int,
    last: int | None,
    everything: bool,
    as_json: bool,
    as_csv: bool,
    base_dir: Path,
) -> None:
    """Print a run's metrics as a table, JSON or CSV.

    RUN is an id, a prefix of an id, a name, or a path to a run folder; default: the newest run. NAME:
    print only these metrics. JSON maps each metric to its points; CSV has one point in each line.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be combined")
    found = one_run(base_dir, run)
    names = _chosen(found, name)
    if isinstance(ranks, int) and ranks not in (known := found.metadata["ranks"]):
        hint = f"its ranks: {', '.join(map(str, known))}" if known else "it has no ranks"
        raise output.Failure(f"run {found.id} has no rank {ranks}", hint=hint)
    total = len(names)
    if not (as_json or as_csv) and total > MAX_COLUMNS:
        names = sorted(most_informative_first(names)[:MAX_COLUMNS]) if not name else names[:MAX_COLUMNS]
    columns = _read(found, names, ranks)
    if last is not None and (as_json or as_csv):  # the table takes the last steps of all metrics together
        import numpy as np

        columns = [points.take(np.arange(max(0, len(points) - last), len(points))) for points in columns]
    if as_json:
        output.print_json({points.name: list(_points(points)) for points in columns})
    elif as_csv:
        _print_csv(columns)
    else:
        _print_table(found, columns, None if everything else last or 20, total)


def _chosen(run: Run, wanted: Sequence[str]) -> list[str]:
    known = run.metric_names()
    for name in wanted:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its metrics: {', '.join(known[:8]) or 'none'}"
            raise output.Failure(f"run {run.id} has no metric {name!r}", hint=hint)
    return list(wanted) or known


def _read(run: Run, names: Sequence[str], ranks: str | int) -> list[Columns]:
    columns = (
        TextColumn("reading"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    found = []
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=len(names) < 20) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=output.text(name[:40]))
            found.append(run.metric(name, ranks=ranks))
            progress.advance(task)
    return found


def _points(points: Columns) -> Iterator[dict[str, Any]]:
    from neural.tracking.core.times import iso_time
    from neural.tracking.reader.metric_stats import step_or_none

    rows = zip(
        points.step.tolist(), points.value.tolist(), points.time_ns.tolist(), points.rank.tolist(), strict=True
    )
    for step, value, time_ns, rank in rows:
        yield {
            "step": step_or_none(step),
            "value": value,
            "timestamp": iso_time(time_ns),
            "rank": None if rank < 0 else rank,
        }


def _print_csv(columns: Sequence[Columns]) -> None:
    """Print one point in each line; names that a spreadsheet would run as a formula begin with ``'``."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["metric", "step", "value", "timestamp", "rank"])
    for points in columns:
        name = formula_safe(points.name)
        for point in _points(points):
            rest = ("" if point[key] is None else point[key] for key in ("step", "value", "timestamp", "rank"))
            writer.writerow([name, *rest])
        click.echo(lines.getvalue(), nl=False)
        lines.seek(0)
        lines.truncate()
    click.echo(lines.getvalue(), nl=False)


def formula_safe(text: str) -> str:
    """Return ``text`` in a form that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) or text.startswith(_FORMULA) else text


def _print_table(run: Run, columns: Sequence[Columns], limit: int | None, total: int) -> None:
    """Print a table with a row for each step and a column for each metric; a missing value is an empty cell."""
    console = output.stdout()
    rows: dict[int, dict[str, float]] = {}
    repeated = False
    for points in columns:
        # The table has the last value of a repeated step; only --json and --csv have all of its values.
        repeated = repeated or len(set(points.step.tolist())) < len(points)
        for step, value in zip(points.step.tolist(), points.value.tolist(), strict=True):
            rows.setdefault(step, {})[points.name] = value
    names = [points.name for points in columns]
    headers = [output.text(name) for name in names]
    table = output.table("step", *headers, right=("step", *headers), title=f"{output.text(run.name)} {run.id}")
    steps = sorted(rows)
    for step in steps if limit is None else steps[-limit:]:
        cells = [output.number(rows[step][name]) if name in rows[step] else "" for name in names]
        table.add_row(f"[dim]{step}[/]", *cells)
    console.print(table)
    if limit is not None and len(steps) > limit:
        console.print(f"[dim]the last {limit} of {output.count(len(steps))} steps; use --all for all steps[/]")
    if total > len(columns):
        note = f"{len(columns)} of {output.count(total)} metrics; give the NAMEs of others, or use --json"
        console.print(f"[dim]{note}[/]")
    if repeated:
        console.print("[dim]some steps have several values: the table has the last one, --csv has all[/]")

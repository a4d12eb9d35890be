"""``ntrack runs``: lists runs, shows one run, and removes runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from neural.tracking.cli import output
from neural.tracking.cli.select import no_runs, one_run
from neural.tracking.core.exit_status import EXIT_FAILED, EXIT_UNREACHABLE

if TYPE_CHECKING:
    from neural.tracking.reader.metric_stats import Stats
    from neural.tracking.reader.run import Run

MAX_SHOWN = 40
MAX_ARTIFACTS = 8
CURVE_ROWS = 6
MAX_TEXTS, TEXT_LINES, TEXT_WIDTH = 10, 5, 300
SPARK_POINTS = 200_000


@click.command(name="ls")
@click.option("--status", type=click.Choice(output.STATUSES), help="List only runs with this status.")
@click.option("--tag", help="List only runs with this tag.")
@click.option("--group", help="List only runs of this group.")
@click.option("--name", help="List only runs with this name.")
@click.option("--limit", "-n", type=click.IntRange(min=1), help="List only the newest N runs.")
@output.json_option
@output.base_dir_option
def list_runs(base_dir: Path, as_json: bool, limit: int | None, **wanted: str | None) -> None:
    """List the runs, newest first."""
    from neural.tracking.api.run_list import run_entry, start_delivery
    from neural.tracking.reader.run_list import list_runs as runs_of

    start_delivery(base_dir)
    entries: list[dict[str, Any]] = []
    for run in runs_of(base_dir):
        if limit is not None and len(entries) >= limit:
            break
        entry = run_entry(run)
        if _is_wanted(entry, wanted):
            entries.append(entry)
    if as_json:
        output.print_json(entries)
        return
    if not entries:
        if any(wanted.values()):
            output.stdout().print("no runs match")
            return
        raise no_runs(base_dir)
    console = output.stdout()
    console.print(_runs_table(entries, console))
    for entry in entries:
        if entry["damaged"]:
            hint = f"run `ntrack verify {entry['experiment_id']}` for a list of all damage"
            console.print(f"  [red]damaged[/] {output.text(entry['damaged'])}; {hint}", soft_wrap=True)


def _is_wanted(entry: Mapping[str, Any], wanted: Mapping[str, str | None]) -> bool:
    if wanted["tag"] is not None and wanted["tag"] not in (entry["tags"] or ()):
        return False
    fields = {"status": "status", "group": "group", "name": "experiment_name"}
    return all(wanted[key] is None or wanted[key] == entry[field] for key, field in fields.items())


def _runs_table(entries: Sequence[Mapping[str, Any]], console: Console) -> Table:
    """Return the table, with only as many columns as the width of the terminal allows."""
    heads = ["id", "name", "status", "started", "took", "calls", "last values", "tags"]
    narrow = output.is_narrow(console)
    if narrow:
        left_out = heads[4:] if output.is_tiny(console) else ["took", "tags"]
        heads = [head for head in heads if head not in left_out]
    table = output.table(*heads, right=("took", "calls"), flexible=("name", "last values", "tags"))
    for entry in entries:
        summary = entry["summary"]
        took = summary.get("duration_s")
        cells = {
            "id": f"[bold]{entry['experiment_id']}[/]",
            "name": output.text(entry["experiment_name"]),
            "status": output.status_cell("damaged" if entry["damaged"] else entry["status"]),
            "started": output.ago(_nanoseconds(entry["start_time"])),
            "took": "–" if took is None else output.duration(took),
            "calls": "–" if entry["damaged"] else output.count(summary.get("calls", 0)),
            "last values": "  ".join(_last_values(summary.get("metrics") or {}, 1 if narrow else 2)),
            "tags": f"[dim]{output.text(' '.join(entry['tags'] or ()))}[/]",
        }
        table.add_row(*(cells[head] for head in heads))
    return table


def _last_values(metrics: Mapping[str, Any], shown: int) -> Iterator[str]:
    """Yield the most informative metrics with their last values: of validation and test first, then others."""

    def sort_key(name: str) -> tuple[int, str]:
        low = name.lower()
        held_out = any(word in low for word in ("val", "test", "eval"))
        informative = any(word in low for word in ("acc", "loss", "f1", "auc", "reward"))
        return (0 if held_out and informative else 1 if informative else 2), name

    for name in sorted(metrics, key=sort_key)[:shown]:
        yield f"[dim]{output.text(name)}[/] {output.number(_float(metrics[name].get('last')))}"


@click.command(name="show")
@click.argument("run", required=False)
@output.json_option
@output.base_dir_option
def show_run(run: str | None, base_dir: Path, as_json: bool) -> None:
    """Show one run: its facts, parameters, metrics and newest texts.

    RUN is an id, a prefix of an id, a name (the newest run of that name), or a path to a run folder;
    default: the newest run.
    """
    found = one_run(base_dir, run)
    from neural.tracking.sink_state.status import ignored_settings, links
    from neural.tracking.state.paths import State

    state = State.for_base_dir(base_dir)
    delivered, refused = links(state, found.uid.hex()), ignored_settings(state, found)
    if as_json:
        facts = {"metadata": found.metadata, "summary": found.summary(), "texts": found.texts()}
        output.print_json({**facts, "path": str(found.folder), "sinks": delivered, "unheeded": refused})
        return
    console = output.stdout()
    metadata, stats = found.metadata, found.metric_stats()  # read first: a damaged run fails before any output
    console.print(
        Panel(_facts(found, metadata, delivered), title=_title(found), title_align="left", border_style="dim")
    )
    for text in refused:
        console.print(f"[yellow]![/] {output.text(text)}")
    if error := metadata.get("error"):
        console.print(
            Panel(output.text(error), title="[red]failed with", title_align="left", border_style="red")
        )
    _print_params(console, found)
    _print_metrics(console, found, stats)
    _print_curves(console, found)
    _print_texts(console, found)


def _title(run: Run) -> str:
    return f"[bold]{output.text(run.name)}[/] {run.id}  {output.status_cell(run.status)}"


def _facts(run: Run, metadata: Mapping[str, Any], delivered: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    took = "" if run.end_ns is None else f", took {output.duration((run.end_ns - run.start_ns) / 1e9)}"
    began = datetime.fromtimestamp(run.start_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    grid.add_row("started", f"{began} ({output.ago(run.start_ns)}){took}")
    grid.add_row("folder", output.text(run.folder))
    for name, link in delivered.items():
        grid.add_row(name, output.text(link))
    for name in ("command", "cwd", "host", "python"):
        if metadata.get(name):
            grid.add_row(name, output.text(metadata[name]))
    if git := metadata.get("git"):
        dirty = " [yellow]with uncommitted changes[/]" if git.get("dirty") else ""
        grid.add_row(
            "git",
            f"{output.text((git.get('commit') or '?')[:10])} {output.text(git.get('branch') or '')}{dirty}",
        )
    if packages := metadata.get("packages"):
        grid.add_row(
            "packages", output.text(", ".join(f"{name} {version}" for name, version in packages.items()))
        )
    if len(metadata.get("ranks") or ()) > 1:
        grid.add_row("ranks", str(len(metadata["ranks"])))
    if metadata.get("attempts", 1) > 1:
        grid.add_row("attempts", str(metadata["attempts"]))
    for name in ("tags", "group", "notes"):
        if value := metadata.get(name):
            grid.add_row(name, output.text(" ".join(value) if isinstance(value, list) else value))
    lost_ranks = sorted({s.rank for s in run.facts.sessions.values() if s.lost_contact and s.status is None})
    if lost_ranks:
        ranks = f"rank{'' if len(lost_ranks) == 1 else 's'} {', '.join(map(str, lost_ranks[:10]))}"
        grid.add_row(
            "lost contact",
            f"[yellow]with {ranks}[/] [dim](no message from the host; the process may still run)[/]",
        )
    artifacts = run.facts.artifacts
    numbers = {name: len(artifacts.versions(name)) or 1 for name in artifacts.names()}
    artifact_names = [f"{output.text(name)} [dim]×{number}[/]" for name, number in numbers.items()]
    if artifact_names:
        hidden = len(artifact_names) - MAX_ARTIFACTS
        more = f" [dim]and {hidden} more[/]" if hidden > 0 else ""
        grid.add_row("artifacts", ", ".join(artifact_names[:MAX_ARTIFACTS]) + more)
    lost = [
        f"{last - first + 1} events: {reason}" for gaps in run.gaps.values() for first, last, reason in gaps
    ]
    if lost:
        grid.add_row("gaps", f"[yellow]{output.text('; '.join(lost[:5]))}[/] [dim](see `ntrack verify`)[/]")
    return grid


def _print_params(console: Console, run: Run) -> None:
    from neural.tracking.params.plain import flat_params

    params = flat_params(run.params)
    if not params:
        return
    table = output.table("parameter", "value", flexible=("parameter", "value"))
    as_text = set(run.metadata.get("hyperparameters_as_text") or ())
    for name, value in list(params.items())[:MAX_SHOWN]:
        mark = " [dim](as text)[/]" if name in as_text else ""
        table.add_row(output.text(name), output.text(value) + mark)
    console.print(table)
    if len(params) > MAX_SHOWN:
        console.print(f"[dim]and {len(params) - MAX_SHOWN} more in hyperparameters.json[/]")


def _print_texts(console: Console, run: Run) -> None:
    """Print the newest texts, each cut to a few lines; ``--json`` has all texts in full."""
    texts = run.texts()
    if not texts:
        return
    table = output.table("text", "step", "", right=("step",), flexible=("text", ""))
    for text in texts[-MAX_TEXTS:]:
        lines = str(text["text"]).splitlines() or [""]
        more = f" [dim]… {len(lines) - TEXT_LINES} more lines[/]" if len(lines) > TEXT_LINES else ""
        shown = output.text("\n".join(line[:TEXT_WIDTH] for line in lines[:TEXT_LINES])) + more
        table.add_row(output.text(text["name"]), "–" if text["step"] is None else str(text["step"]), shown)
    console.print(table)
    if len(texts) > MAX_TEXTS:
        console.print(f"[dim]and {len(texts) - MAX_TEXTS} earlier texts; use --json for all texts[/]")


def _print_metrics(console: Console, run: Run, stats: Mapping[str, Stats]) -> None:
    if not stats:
        console.print("[dim]no metrics[/]")
        return
    narrow = output.is_narrow(console)
    heads = ["metric", "last", "min", "max", "points", "curve"]
    if narrow:
        heads.remove("points")
    table = output.table(*heads, right=heads[1:-1], flexible=["metric"])
    for name in sorted(stats)[:MAX_SHOWN]:
        plain = stats[name].plain()
        cells = [
            output.text(name),
            f"[bold]{output.number(plain['last'])}[/]",
            _at(plain["min"], plain["min_step"]),
            _at(plain["max"], plain["max_step"]),
        ]
        if not narrow:
            cells.append(output.count(plain["count"]))
        table.add_row(*cells, _sparkline(run, name, plain["count"], 14 if narrow else 24))
    console.print(table)
    if len(run.metadata["ranks"]) > 1:
        console.print("[dim]values are of all ranks; the curve is the mean over ranks[/]")
    if (total := len(run.metric_names())) > MAX_SHOWN:
        console.print(
            f"[dim]and {output.count(total - MAX_SHOWN)} more; run `ntrack metrics {run.id} --json` for all[/]"
        )


def _print_curves(console: Console, run: Run) -> None:
    """Draw the curves of the most informative metrics, two side by side on a wide terminal."""
    from neural.tracking.cli.curve import curve
    from neural.tracking.errors import DataDamagedError
    from neural.tracking.figures.names import most_informative_first
    from neural.tracking.figures.run import read_series

    width = 52 if not output.is_narrow(console) else min(72, console.width - 2)
    try:
        names = most_informative_first(run.metric_names())[: 1 if output.is_narrow(console) else 2]
        drawn = [one for one in read_series(run, names) if one.finite > 1]
    except DataDamagedError:
        return  # the table reported the damage
    if drawn:
        grid = Table.grid(padding=(0, 4))
        grid.add_row(*("\n".join(curve(one, width, CURVE_ROWS)) for one in drawn))
        console.print(grid)


def _at(value: float | None, step: int | None) -> str:
    return output.number(value) + ("" if step is None else f" [dim]@{step}[/]")


def _sparkline(run: Run, name: str, count: int, width: int) -> str:
    from neural.tracking.errors import DataDamagedError

    if count > SPARK_POINTS:
        return ""
    try:
        return f"[cyan]{output.sparkline(run.metric(name).value.tolist(), width)}[/]"
    except DataDamagedError:
        return "[red]damaged[/]"


@click.command(name="rm")
@click.argument("run", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@output.base_dir_option
def remove_runs(run: tuple[str, ...], base_dir: Path, yes: bool) -> None:
    """Remove runs with all their files, after a confirmation.

    If several runs have the name, only the newest is removed. If a run has a copy, give the path of the folder
    to remove. Events that a process still logs to a removed run become a gap.
    """
    from neural.tracking.api.run_list import delete_run
    from neural.tracking.errors import CollectorUnreachableError, TrackingError

    chosen = {found.folder.resolve(): found for found in (one_run(base_dir, name, "skip") for name in run)}
    console = output.stdout()
    for found in chosen.values():
        if found.folder.parent.resolve() != base_dir.resolve():
            raise output.Failure(
                f"{found.folder} is not in {base_dir}", hint="set --base-dir to its parent folder"
            )
        calls = output.count(found.call_count())
        console.print(f"{_title(found)}  [dim]{output.ago(found.start_ns)}, {calls} calls[/]")
    if not yes:
        click.confirm(
            f"Remove {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'} permanently?", abort=True
        )
    for found in chosen.values():
        try:
            delete_run(base_dir, found)
        except (OSError, TrackingError) as error:
            unreachable = isinstance(error, CollectorUnreachableError)
            code = EXIT_UNREACHABLE if unreachable else EXIT_FAILED
            raise output.Failure(str(error), code=code) from error
        console.print(f"removed {output.text(found.folder.name)}")


def _nanoseconds(time: str | None) -> int | None:
    return None if time is None else int(datetime.fromisoformat(time).timestamp() * 1e9)


def _float(value: Any) -> float | None:
    """Return a value of a view as a number: NaN and infinities are text there."""
    return None if value is None else float(value)

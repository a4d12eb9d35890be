"""``ntrack runs rebuild``: the JSON views anew, from parts, tails and events lines."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from neural.tracking.cli import output
from neural.tracking.cli.select import no_runs, some_runs
from neural.tracking.core.exit_status import EXIT_FAILED


@click.command(name="rebuild")
@click.argument("run", nargs=-1)
@click.option("--force", is_flag=True, help="Also where something of the truth is missing or damaged.")
@output.base_dir_option
def rebuild_runs(run: tuple[str, ...], base_dir: Path, force: bool) -> None:
    """Make every view of a run anew from its truth.

    metadata.json, hyperparameters.json, metrics.json, artifacts.json and summary.json are only
    views; this makes them as the collector would. Without RUN: of every run. Where `ntrack verify`
    finds that something is gone, the old views may tell of it: they stay, unless forced.
    """
    from neural.tracking.errors import FormatError
    from neural.tracking.verify.rebuild import rebuild_run

    runs = some_runs(base_dir, run)
    if not runs:
        raise no_runs(base_dir)
    changed: list[tuple[Path, str]] = []
    failed: list[tuple[Path, str]] = []
    columns = (
        TextColumn("rebuilding"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(runs))
        for found in runs:
            progress.update(task, description=output.text(found.folder.name))
            try:
                changed += [(found.folder, path.name) for path in rebuild_run(found.folder, force=force)]
            except (OSError, FormatError) as error:
                failed.append((found.folder, str(error)))
            progress.advance(task)
    console = output.stdout()
    for folder, name in changed:
        console.print(f"[cyan]made anew[/] {output.text(folder.name)}/{name}", soft_wrap=True)
    for folder, why in failed:
        console.print(f"[red]✗[/] {output.text(folder.name)}: {output.text(why)}", soft_wrap=True)
    done = [f"{len(runs) - len(failed)} of {len(runs)} runs rebuilt"]
    if changed:
        done.append(f"{len(changed)} views made anew")
    elif len(failed) < len(runs):
        done.append("all views were right already")
    console.print(", ".join(done))
    if failed:
        output.leave(EXIT_FAILED)

"""``ntrack runs rebuild``: makes the JSON views again from parts, tails and event lines."""

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
@click.option("--force", is_flag=True, help="Also rebuild runs with missing or damaged data.")
@output.base_dir_option
def rebuild_runs(run: tuple[str, ...], base_dir: Path, force: bool) -> None:
    """Make the views of runs again from the stored events and points. Without RUN: of all runs.

    The views are metadata.json, hyperparameters.json, metrics.json, artifacts.json and summary.json. A run
    with missing or damaged data keeps its old views, which may still show what is missing; --force replaces
    them. Exit code 1: a run was not rebuilt.
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
        console.print(f"[cyan]rebuilt[/] {output.text(folder.name)}/{name}", soft_wrap=True)
    for folder, why in failed:
        console.print(f"[red]✗[/] {output.text(folder.name)}: {output.text(why)}", soft_wrap=True)
    done = [f"{len(runs) - len(failed)} of {len(runs)} runs rebuilt"]
    if changed:
        done.append(f"{output.several(len(changed), 'view')} changed")
    elif len(failed) < len(runs):
        done.append("all views were correct")
    console.print(", ".join(done))
    if failed:
        output.leave(EXIT_FAILED)

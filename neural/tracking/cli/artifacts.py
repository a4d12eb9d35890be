"""``ntrack artifacts``: lists the artifacts of a run, copies them out, and checks their digests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from neural.tracking.cli import output
from neural.tracking.cli.select import no_runs, one_run, some_runs
from neural.tracking.core.config import agent_config
from neural.tracking.core.exit_status import EXIT_INTEGRITY, EXIT_LEFT

if TYPE_CHECKING:
    from neural.tracking.artifacts.report import ArtifactReport
    from neural.tracking.reader.artifacts import ArtifactCall, Artifacts
    from neural.tracking.reader.run import Run


@click.command(name="ls")
@click.argument("run", required=False)
@click.option("--name", help="Show only artifacts of this name.")
@output.json_option
@output.base_dir_option
def list_artifacts(run: str | None, name: str | None, base_dir: Path, as_json: bool) -> None:
    """List a run's artifacts, newest version first.

    RUN is an id, a prefix of an id, a name (the newest run of that name), or a path to a run folder;
    default: the newest run.
    """
    from neural.tracking.reader.artifact_views import artifacts_view

    found = one_run(base_dir, run)
    artifacts = found.facts.artifacts
    names = [each for each in artifacts.names() if name in (None, each)]
    if as_json:
        view = artifacts_view(artifacts)
        output.print_json({each: view[each] for each in names})
        return
    console = output.stdout()
    if not names and not artifacts.waiting() and not artifacts.lost():
        console.print(f"run {found.id} has no artifacts" + (f" named {output.text(name)}" if name else ""))
        if collector := agent_config(base_dir).collector:
            console.print(f"  [dim]→[/] the collector at {collector} stores the artifacts: list them there")
        return
    console.print(_table(artifacts, names, console))
    for entry in artifacts.waiting():
        console.print(f"  [yellow]pending[/] {output.text(entry.name)}, {output.size(entry.size)}")
    for entry in artifacts.lost():
        console.print(f"  [yellow]lost[/] {output.text(entry.name)}: {output.text(entry.lost)}")


def _table(artifacts: Artifacts, names: Sequence[str], console: Console) -> Any:
    from neural.tracking.reader.artifact_views import names_of_versions

    heads = ["name", "version", "size", "logged", "aliases", "snapshot", "sha-256"]
    if output.is_narrow(console):
        heads = heads[:3] if output.is_tiny(console) else heads[:5]
    table = output.table(*heads, right=("size",), flexible=("name", "aliases"))
    for name in names:
        aliases = names_of_versions(artifacts, name)
        entries = artifacts.versions(name)[::-1]
        current = artifacts.current(name)
        if current is not None and current.version is None:
            entries.insert(0, current)
        for number, entry in enumerate(entries):
            outcome = entry.outcome or {}
            known = entry.is_folder and outcome
            files = f" [dim]{output.several(outcome['files'], 'file')}[/]" if known else ""
            cells = {
                "name": f"[bold]{output.text(name)}[/]" if number == 0 else "",
                "version": "[dim]current[/]" if entry.version is None else f"v{entry.version}",
                "size": output.size(entry.size) + files,
                "logged": output.ago(entry.time_ns),
                "aliases": output.text(" ".join(aliases.get(entry.version or 0, []))),
                "snapshot": f"[dim]{output.text(entry.call.get('uri') or entry.call.get('how'))}[/]",
                "sha-256": f"[dim]{entry.checksum[:12]}[/]",
            }
            table.add_row(*(cells[head] for head in heads))
    return table


@click.command(name="get")
@click.argument("run")
@click.argument("name")
@click.argument("version", default="latest")
@click.option(
    "--to",
    "-o",
    type=click.Path(),
    default=".",
    help="File to write, or folder to write into.  [default: .]",
)
@click.option("--force", is_flag=True, help="Replace an existing file or folder.")
@output.base_dir_option
def get_artifact(run: str, name: str, version: str, to: str, force: bool, base_dir: Path) -> None:
    """Copy one version of an artifact out of a run, and check it against its SHA-256.

    VERSION is 3, v3, an alias, or -1 for the newest (after --); default: latest. Exit code 6: its bytes
    are not those that were logged; nothing was copied.
    """
    from neural.tracking.artifacts.check import copy_out, label, target_of
    from neural.tracking.errors import ArtifactDamagedError, TrackingError

    found = one_run(base_dir, run)
    entry = _one(found, name, version)
    try:
        there = target_of(entry, to)
        if not force and os.path.lexists(there):
            raise output.Failure(
                f"{there} exists already", hint="set --to to another path, or replace it with --force"
            )
        with _bar("copying", entry.size) as progress:
            target = copy_out(found.folder, entry, to, progress, force=force)
    except ArtifactDamagedError as error:
        raise output.Failure(str(error), code=EXIT_INTEGRITY) from error
    except OSError as error:
        raise output.Failure(f"{error.filename or to}: {error.strerror}") from error
    except TrackingError as error:
        raise output.Failure(str(error)) from error
    output.stdout().print(f"copied {output.text(label(entry))} to {output.text(target)}", soft_wrap=True)


def _one(run: Run, name: str, version: str) -> ArtifactCall:
    artifacts = run.facts.artifacts
    entry = artifacts.find(name, version)
    current = artifacts.current(name)
    if entry is None and version == "latest" and current is not None:
        entry = current
    if entry is not None:
        return entry
    if name not in artifacts.names():
        known = ", ".join(artifacts.names()[:12]) or "none"
        raise output.Failure(f"run {run.id} has no artifact {name!r}", hint=f"its artifacts: {known}")
    known = ", ".join([f"v{e.version}" for e in artifacts.versions(name)] + sorted(artifacts.aliases(name)))
    raise output.Failure(f"{name} has no version {version!r}", hint=f"its versions: {known}")


@click.command(name="verify")
@click.argument("run", nargs=-1)
@output.json_option
@output.base_dir_option
def verify_artifacts(run: tuple[str, ...], base_dir: Path, as_json: bool) -> None:
    """Check every version of every artifact against its SHA-256. Without RUN: of all runs.

    Exit code 0: all are intact. 3: some are pending. 6: some are damaged or missing.
    """
    from neural.tracking.artifacts.check import Checker
    from neural.tracking.artifacts.report import check_artifacts, to_check
    from neural.tracking.artifacts.sweep import sweep
    from neural.tracking.state.paths import State

    runs = some_runs(
        base_dir, run, "skip"
    )  # damaged event lines are listed, and the other artifacts are checked
    if not runs:
        raise no_runs(base_dir)
    total = sum(entry.size for each in runs for entry in to_check(each.facts.artifacts))
    reports: list[tuple[Run, ArtifactReport]] = []
    with _bar("verifying", total, quiet=as_json) as progress:
        checker = Checker(progress)
        for each in runs:
            reports.append((each, check_artifacts(each.folder, checker)))
    damaged = any(report.damages or report.unread for _, report in reports)
    waiting = sum(len(report.waiting) for _, report in reports)
    unowned = sweep(State.for_base_dir(base_dir).blobs, dry_run=True)
    code = EXIT_INTEGRITY if damaged else EXIT_LEFT if waiting else 0
    if as_json:
        shown = [{"run": each.folder.name, **vars(report)} for each, report in reports]
        output.print_json({"exit_code": code, "runs": shown, "unowned_blobs": unowned._asdict()})
    else:
        _print_reports(reports, code)
        if unowned.blobs:
            console = output.stdout()
            found = f"{output.several(unowned.blobs, 'blob')} without a run, {output.size(unowned.size_bytes)}"
            console.print(f"  [dim]{found}; run `ntrack artifacts prune` to remove them[/]")
    if code:
        output.leave(code)


def _print_reports(reports: Sequence[tuple[Run, ArtifactReport]], code: int) -> None:
    console = output.stdout()
    for run, report in reports:
        where = f"[bold]{output.text(run.folder.name)}[/]"
        for damage in report.damages:
            console.print(f"  {where} [red]damaged[/] {output.text(damage)}", soft_wrap=True)
        for damage in report.unread[:5]:
            more = "its artifacts are unknown; run `ntrack verify` for a list of all damage"
            console.print(f"  {where} [red]damaged[/] {output.text(damage)}: {more}", soft_wrap=True)
        for name, _, why in report.lost:
            console.print(f"  {where} [yellow]lost[/] {output.text(name)}: {output.text(why)}", soft_wrap=True)
        for name, _ in report.waiting:
            console.print(f"  {where} [yellow]pending[/] {output.text(name)}", soft_wrap=True)
    intact = sum(report.whole for _, report in reports)
    damaged = sum(len(report.damages) for _, report in reports)
    if damaged:
        console.print(f"[red]✗[/] {damaged} of {intact + damaged} versions are damaged [dim](exit code 6)[/]")
    elif any(report.unread for _, report in reports):
        console.print(f"[red]✗[/] {intact} versions are intact; others may be unknown [dim](exit code 6)[/]")
    elif code:
        console.print(f"[yellow]…[/] {intact} versions are intact, some are pending [dim](exit code 3)[/]")
    else:
        console.print(f"[green]✓[/] all {intact} versions are intact")


@contextmanager
def _bar(what: str, total: int, *, quiet: bool = False) -> Iterator[Any]:
    """Show a progress bar on standard error if that is a terminal; yield a callback for the bytes done."""
    columns = (TextColumn(what), BarColumn(bar_width=30), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    quiet = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)

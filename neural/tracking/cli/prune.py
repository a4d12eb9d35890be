"""``ntrack artifacts prune``: has the collector remove old versions. It never guesses what to keep."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from neural.tracking.cli import output
from neural.tracking.cli.select import some_runs
from neural.tracking.core.exit_status import EXIT_UNREACHABLE

if TYPE_CHECKING:
    from neural.tracking.reader.artifacts import ArtifactCall, Artifacts
    from neural.tracking.reader.run import Run

START_TIMEOUT_S = 10.0
PRUNE_TIMEOUT_S = 30.0
PRUNE_BATCH = 1000
MAX_ALIASES_SHOWN = 20


@click.command(name="prune")
@click.argument("run", nargs=-1)
@click.option("--keep-last", "-n", type=click.IntRange(min=1), help="Keep this many versions of each name.")
@click.option(
    "--drop-aliased", is_flag=True, help="Also remove versions with an alias, except those of --keep-alias."
)
@click.option("--keep-alias", metavar="ALIAS", multiple=True, help="Keep versions with this alias; repeatable.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@output.base_dir_option
def prune_artifacts(
    run: tuple[str, ...],
    base_dir: Path,
    keep_last: int | None,
    drop_aliased: bool,
    keep_alias: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove old versions of artifacts, and blobs that no run refers to. Without RUN: of all runs.

    Without --keep-last, remove no versions, only blobs. The newest version of a name is always kept. Versions
    with an alias are kept, too, unless --drop-aliased is given. A --keep-alias that no run has is an error,
    and nothing is removed. The collector does the work, so it is safe while runs continue.
    """
    if keep_last is None and (keep_alias or drop_aliased):
        raise click.UsageError("--keep-alias and --drop-aliased need --keep-last")
    runs = some_runs(base_dir, run) if run or keep_last is not None else []
    for each in runs:
        if each.folder.parent.resolve() != base_dir.resolve():
            raise output.Failure(
                f"{each.folder} is not in {base_dir}", hint="set --base-dir to its parent folder"
            )
    _check_aliases(runs, keep_alias)
    old: list[tuple[Run, list[ArtifactCall]]] = []
    for each in runs if keep_last is not None else ():
        artifacts = each.facts.artifacts
        entries = list(_old_versions(artifacts, keep_last or 1, drop_aliased, keep_alias))
        # Versions that an interrupted prune noted as removed but did not remove.
        entries += [entry for entry in artifacts.entries if entry.pruned and _is_there(each, entry)]
        if entries:
            old.append((each, entries))
    console = output.stdout()
    _print_versions(console, old)
    count = sum(_is_there(each, entry) for each, entries in old for entry in entries)
    if dry_run:
        blobs, size = _would_free(base_dir, old)
        console.print(f"would remove {_summary(count, blobs, size)}")
        return
    if old and not yes:
        click.confirm(f"Remove {output.several(count, 'version')} permanently?", abort=True)
    removed, blobs, size = _prune(base_dir, old)
    console.print(f"removed {_summary(removed, blobs, size)}")


def _summary(versions: int, blobs: int, size: int) -> str:
    both = f"{output.several(versions, 'version')} and {output.several(blobs, 'blob')}"
    return f"{both}, {output.size(size)} freed"


def _by_name(entries: Sequence[ArtifactCall]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry.version or 0)
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Return version numbers as ranges: ``v1 to v7, v9``."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ", ".join(f"v{run[0]}" if len(run) == 1 else f"v{run[0]} to v{run[-1]}" for run in ranges)


def _check_aliases(runs: Sequence[Run], keep_alias: Sequence[str]) -> None:
    """Raise Failure for an alias that no run has: it is probably misspelled."""
    known = {alias for run in runs for alias in run.facts.artifacts.all_aliases()}
    unknown = [alias for alias in keep_alias if alias not in known]
    if unknown:
        shown = ", ".join(sorted(known)[:MAX_ALIASES_SHOWN]) or "none"
        raise output.Failure(
            f"no version has the alias {', '.join(map(repr, unknown))}; nothing was removed",
            hint=f"the aliases of {output.several(len(runs), 'run')}: {shown}",
        )


def _is_there(run: Run, entry: ArtifactCall) -> bool:
    return os.path.lexists(run.folder / entry.path)


def _print_versions(console: Console, old: Sequence[tuple[Run, list[ArtifactCall]]]) -> None:
    for run, entries in old:
        total = (
            f"{output.several(len(entries), 'version')}, {output.size(sum(entry.size for entry in entries))}"
        )
        console.print(f"[bold]{output.text(run.folder.name)}[/]: {total}")
        for name, numbers in _by_name(entries).items():
            console.print(f"  {output.text(name)} [dim]{_ranges(numbers)}[/]")


def _would_free(base_dir: Path, old: Sequence[tuple[Run, list[ArtifactCall]]]) -> tuple[int, int]:
    """Return the numbers of blobs and bytes that no run refers to once these versions are removed."""
    from neural.tracking.artifacts.check import links
    from neural.tracking.artifacts.sweep import sweep
    from neural.tracking.state.paths import State

    going = Counter(link for run, entries in old for entry in entries for link in links(run.folder, entry))
    return sweep(State.for_base_dir(base_dir).blobs, dry_run=True, removed_links=going)


def _old_versions(
    artifacts: Artifacts, keep_last: int, drop_aliased: bool, keep_alias: Sequence[str]
) -> Iterator[ArtifactCall]:
    for name in artifacts.names():
        aliases = artifacts.aliases(name)
        kept = {number for alias, number in aliases.items() if not drop_aliased or alias in keep_alias}
        for entry in artifacts.versions(name)[:-keep_last]:
            if entry.version not in kept:
                yield entry


def _prune(base_dir: Path, old: Sequence[tuple[Run, list[ArtifactCall]]]) -> tuple[int, int, int]:
    """Have the collector remove the versions; return the numbers of removed versions, blobs and bytes."""
    versions = blobs = size = 0
    batches: list[tuple[bytes, str | None, list[ArtifactCall]]] = []
    for run, entries in old:
        starts = range(0, len(entries), PRUNE_BATCH)
        batches += [(run.uid, run.folder.name, entries[at : at + PRUNE_BATCH]) for at in starts]
    for uid, folder, entries in [*batches, (b"", None, [])]:
        wanted = [[entry.session, entry.seq] for entry in entries]
        answer = _ask_collector(base_dir, uid=uid, dir=folder, versions=wanted)
        if not answer.get("ok"):
            done = f"removed only {output.several(versions, 'version')}" if versions else "nothing was removed"
            raise output.Failure(f"{done}: {answer.get('error')}")
        versions, blobs = versions + answer.get("versions", 0), blobs + answer["blobs"]
        size += answer["bytes"]
    return versions, blobs, size


def _ask_collector(base_dir: Path, **fields: Any) -> dict[str, Any]:
    from neural.tracking.agent import launch_collector
    from neural.tracking.errors import CollectorUnreachableError
    from neural.tracking.state.control_client import request
    from neural.tracking.state.paths import State

    state = State.for_base_dir(base_dir)
    if not state.collector_runs():
        launch_collector(state, base_dir)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            request(state, "ping", timeout_s=1.0)
            return request(state, "prune", timeout_s=PRUNE_TIMEOUT_S, **fields)
        except CollectorUnreachableError as error:
            if time.monotonic() > deadline:
                raise output.Failure(str(error), code=EXIT_UNREACHABLE) from error
            time.sleep(0.05)

"""``ntrack artifacts prune``: old versions go, by the collector's hand; what is to be kept is never guessed."""

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

STARTS_WITHIN_S = 10.0
PRUNE_TIMEOUT_S = 30.0
PRUNE_AT_ONCE = 1000
MAX_ALIASES_TOLD = 20


@click.command(name="prune")
@click.argument("run", nargs=-1)
@click.option("--keep-last", "-n", type=click.IntRange(min=1), help="Of each name, keep so many versions.")
@click.option("--drop-aliased", is_flag=True, help="Versions with an alias go, too, but those of --keep-alias.")
@click.option(
    "--keep-alias", metavar="ALIAS", multiple=True, help="Keep the version with this alias; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
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
    """Remove old versions of artifacts, and the bytes that no run refers to any more.

    Of the runs named, or of all. Without --keep-last no version goes, only bytes that are no run's. The
    newest version of a name always stays, and so does every version with an alias, unless --drop-aliased
    says otherwise. An alias that none of these runs has is refused, and nothing is removed. Safe while
    runs go on; a collector does it.
    """
    if keep_last is None and (keep_alias or drop_aliased):
        raise click.UsageError("--keep-alias and --drop-aliased choose among what --keep-last would remove")
    runs = some_runs(base_dir, run) if run or keep_last is not None else []
    for each in runs:
        if each.folder.parent.resolve() != base_dir.resolve():
            raise output.Failure(f"{each.folder} is not in {base_dir}", hint="give its folder with --base-dir")
    _check_aliases(runs, keep_alias)
    doomed: list[tuple[Run, list[ArtifactCall]]] = []
    for each in runs if keep_last is not None else ():
        artifacts = each.facts.artifacts
        entries = list(_doomed(artifacts, keep_last or 1, drop_aliased, keep_alias))
        # What a kill left of an earlier prune, between its note and its end.
        entries += [entry for entry in artifacts.entries if entry.pruned and _is_there(each, entry)]
        if entries:
            doomed.append((each, entries))
    console = output.stdout()
    _print_doomed(console, doomed)
    count = sum(_is_there(each, entry) for each, entries in doomed for entry in entries)
    if dry_run:
        blobs, size = _would_free(base_dir, doomed)
        console.print(f"would remove {_told(count, blobs, size)}")
        return
    if doomed and not yes:
        click.confirm(f"Remove {output.several(count, 'version')} for good?", abort=True)
    removed, blobs, size = _prune(base_dir, doomed)
    console.print(f"removed {_told(removed, blobs, size)}")


def _told(versions: int, blobs: int, size: int) -> str:
    both = f"{output.several(versions, 'version')} and {output.several(blobs, 'blob')}"
    return f"{both}, {output.size(size)} freed"


def _by_name(entries: Sequence[ArtifactCall]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry.version or 0)
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Return version numbers as people write them: ``v1 to v7, v9``."""
    told: list[list[int]] = []
    for number in sorted(numbers):
        if told and number == told[-1][-1] + 1:
            told[-1].append(number)
        else:
            told.append([number])
    return ", ".join(f"v{run[0]}" if len(run) == 1 else f"v{run[0]} to v{run[-1]}" for run in told)


def _check_aliases(runs: Sequence[Run], keep_alias: Sequence[str]) -> None:
    """Refuse an alias that no run has: a slip of the pen must not pass for a wish that was met."""
    known = {alias for run in runs for alias in run.facts.artifacts.all_aliases()}
    unknown = [alias for alias in keep_alias if alias not in known]
    if unknown:
        there = ", ".join(sorted(known)[:MAX_ALIASES_TOLD]) or "none"
        raise output.Failure(
            f"no version has the alias {', '.join(map(repr, unknown))}, so nothing was removed",
            hint=f"the aliases in {output.several(len(runs), 'run')} are: {there}",
        )


def _is_there(run: Run, entry: ArtifactCall) -> bool:
    return os.path.lexists(run.folder / entry.path)


def _print_doomed(console: Console, doomed: Sequence[tuple[Run, list[ArtifactCall]]]) -> None:
    for run, entries in doomed:
        told = f"{output.several(len(entries), 'version')}, {output.size(sum(entry.size for entry in entries))}"
        console.print(f"[bold]{output.text(run.folder.name)}[/]: {told}")
        for name, numbers in _by_name(entries).items():
            console.print(f"  {output.text(name)} [dim]{_ranges(numbers)}[/]")


def _would_free(base_dir: Path, doomed: Sequence[tuple[Run, list[ArtifactCall]]]) -> tuple[int, int]:
    """Return how many blobs, and bytes, are nobody's once these versions are gone, or are so already."""
    from neural.tracking.artifacts.check import links
    from neural.tracking.artifacts.sweep import sweep
    from neural.tracking.state.paths import State

    going = Counter(link for run, entries in doomed for entry in entries for link in links(run.folder, entry))
    return sweep(State.for_base_dir(base_dir).blobs, dry_run=True, removed_links=going)


def _doomed(
    artifacts: Artifacts, keep_last: int, drop_aliased: bool, keep_alias: Sequence[str]
) -> Iterator[ArtifactCall]:
    for name in artifacts.names():
        aliases = artifacts.aliases(name)
        kept = {number for alias, number in aliases.items() if not drop_aliased or alias in keep_alias}
        for entry in artifacts.versions(name)[:-keep_last]:
            if entry.version not in kept:
                yield entry


def _prune(base_dir: Path, doomed: Sequence[tuple[Run, list[ArtifactCall]]]) -> tuple[int, int, int]:
    """Have the collector do it; return how many versions and blobs went, and their bytes."""
    versions = blobs = size = 0
    batches: list[tuple[bytes, str | None, list[ArtifactCall]]] = []
    for run, entries in doomed:
        starts = range(0, len(entries), PRUNE_AT_ONCE)
        batches += [(run.uid, run.folder.name, entries[at : at + PRUNE_AT_ONCE]) for at in starts]
    for uid, folder, entries in [*batches, (b"", None, [])]:
        wanted = [[entry.session, entry.seq] for entry in entries]
        answer = _ask_collector(base_dir, uid=uid, dir=folder, versions=wanted)
        if not answer.get("ok"):
            done = f"{output.several(versions, 'version')} went first" if versions else "nothing was pruned"
            raise output.Failure(f"{done}: {answer.get('error')}")
        versions, blobs = versions + answer.get("versions", 0), blobs + answer["blobs"]
        size += answer["bytes"]
    return versions, blobs, size


def _ask_collector(base_dir: Path, **asked: Any) -> dict[str, Any]:
    from neural.tracking.agent import launch_collector
    from neural.tracking.errors import CollectorUnreachableError
    from neural.tracking.state.control_client import request
    from neural.tracking.state.paths import State

    state = State.for_base_dir(base_dir)
    if not state.collector_runs():
        launch_collector(state, base_dir)
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            request(state, "ping", timeout_s=1.0)
            return request(state, "prune", timeout_s=PRUNE_TIMEOUT_S, **asked)
        except CollectorUnreachableError as error:
            if time.monotonic() > deadline:
                raise output.Failure(str(error), code=EXIT_UNREACHABLE) from error
            time.sleep(0.05)

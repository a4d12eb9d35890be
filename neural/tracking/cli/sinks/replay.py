"""``ntrack sinks replay``: delivers runs from their folders, also those that ended long ago."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click

from neural.tracking.cli import output
from neural.tracking.cli.select import one_run
from neural.tracking.cli.sinks.select import notify_collector, one_sink
from neural.tracking.core.exit_status import EXIT_LEFT, EXIT_UNREACHABLE
from neural.tracking.core.files import read_json
from neural.tracking.errors import TrackingError
from neural.tracking.reader.run import Run
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.state.paths import State


@click.command(short_help="Deliver runs from their folders to a sink.")
@click.argument("run", nargs=-1, required=True)
@click.option("--to", "name", required=True, help="The sink: its name, or a type with its defaults.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for it.")
@output.base_dir_option
def replay(run: tuple[str, ...], name: str, timeout: float, base_dir: Path) -> None:
    """Deliver runs to a sink from their folders alone: what it has not been given yet.

    Twice is as once. RUN is an id, its beginning, a name, or a path to a run folder. Exit code 3 says
    that it is still under way after the timeout; it goes on in the collector.
    """
    config = one_sink(base_dir, name)
    if not config.enabled:
        raise output.Failure(f"sink {name} is disabled", hint=f"`ntrack sinks enable {name}`")
    state, console = State.for_base_dir(base_dir), output.stdout()
    folder = SinkFolder(state, name)
    runs: dict[str, Run] = {}
    for found in (one_run(base_dir, wanted) for wanted in run):
        other = runs.setdefault(found.uid.hex(), found)
        if other.folder.resolve() != found.folder.resolve():
            raise output.Failure(
                f"{other.folder} and {found.folder} hold the same run, {found.id}",
                hint="a sink is given a run once: name one of the two",
            )
    before = {uid: _delivered(folder, uid) for uid in runs}
    try:
        for uid, found in runs.items():
            folder.ask(uid, found.folder.absolute())
        _reach_collector(base_dir, name)
    except (OSError, TrackingError) as error:
        raise output.Failure(str(error)) from error
    with console.status(f"delivering to {name}"):
        left = _wait(folder, runs, timeout)
    for uid, found in runs.items():
        share = folder.share(uid)
        count = _delivered(folder, uid) - before[uid]
        mark = "[yellow]![/]" if uid in left else "[green]●[/]"
        console.print(f"{mark} {output.text(found.name)} {found.id}: {output.count(count)} events delivered")
        if share is not None and share.link:
            console.print(f"  [dim]{output.text(share.link)}[/]", soft_wrap=True)
    if left:
        why = (read_json(folder.about) or {}).get("error") or "it is still at work"
        raise output.Failure(
            f"{name} has not taken all of it within {timeout:g} s: {why}",
            hint="it goes on in the collector; `ntrack sinks ls` shows how",
            code=EXIT_LEFT,
        )


def _delivered(folder: SinkFolder, uid: str) -> int:
    share = folder.share(uid)
    return 0 if share is None else share.events_total


def _reach_collector(base_dir: Path, name: str) -> None:
    from neural.tracking.collector import commands

    if notify_collector(base_dir, "errand", sink=name):
        return
    if commands.start(base_dir):
        raise output.Failure("the collector does not answer", code=EXIT_UNREACHABLE)
    notify_collector(base_dir, "errand", sink=name)


def _wait(folder: SinkFolder, runs: Mapping[str, Run], timeout_s: float) -> set[str]:
    """Return the runs that are not through after the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = {uid for _, uid, _, _ in folder.asked()} & set(runs)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)

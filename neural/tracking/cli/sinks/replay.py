"""``ntrack sinks replay``: delivers runs to a sink from their folders, also runs that ended long ago."""

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


@click.command(short_help="Deliver older runs to a sink from their folders.")
@click.argument("run", nargs=-1, required=True)
@click.option("--to", "name", required=True, help="Name of the sink, or a type with default options.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait.")
@output.base_dir_option
def replay(run: tuple[str, ...], name: str, timeout: float, base_dir: Path) -> None:
    """Deliver the events of runs that a sink does not have yet, from their folders.

    A second replay delivers nothing twice. RUN is an id, a prefix of an id, a name, or a path to a run
    folder. Exit code 3: the delivery is not finished after the timeout; the collector continues it.
    """
    config = one_sink(base_dir, name)
    if not config.enabled:
        raise output.Failure(f"sink {name} is disabled", hint=f"run `ntrack sinks enable {name}`")
    state, console = State.for_base_dir(base_dir), output.stdout()
    folder = SinkFolder(state, name)
    runs: dict[str, Run] = {}
    for found in (one_run(base_dir, wanted) for wanted in run):
        other = runs.setdefault(found.uid.hex(), found)
        if other.folder.resolve() != found.folder.resolve():
            raise output.Failure(
                f"{other.folder} and {found.folder} have the same run, {found.id}",
                hint="a sink gets a run only once: give one of the two folders",
            )
    before = {uid: _delivered(folder, uid) for uid in runs}
    try:
        for uid, found in runs.items():
            folder.request_delivery(uid, found.folder.absolute())
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
        why = (read_json(folder.about) or {}).get("error") or "the delivery is not finished"
        raise output.Failure(
            f"{name} has not accepted all events within {timeout:g} s: {why}",
            hint="the collector continues; run `ntrack sinks ls` for the state",
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
    """Wait until the runs are delivered; return those that are not after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = {uid for _, uid, _, _ in folder.requested_deliveries()} & set(runs)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)

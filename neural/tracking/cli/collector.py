"""``ntrack collector``: the daemon's life from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neural.tracking.cli import output
from neural.tracking.core.exit_status import EXIT_UNREACHABLE
from neural.tracking.errors import CollectorUnreachableError, TrackingError
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State


@click.group()
def collector() -> None:
    """Start, stop and look at the collector.

    One collector serves all runs of one folder on this host. Trackers start it by themselves and it
    leaves after ten idle minutes, so these commands are for looking, for service managers, and for
    machines where it should stay.
    """


_listen_option = click.option(
    "--listen",
    metavar="tcp://HOST:PORT",
    help="Also take trainings of other hosts; default as in config.toml, else not. See `ntrack keys`.",
)


@collector.command(short_help="Start one in the background.")
@_listen_option
@output.base_dir_option
def start(base_dir: Path, listen: str | None) -> None:
    """Start a collector in the background, unless one runs; return once it answers."""
    from neural.tracking.collector import commands

    state = State.for_base_dir(base_dir)
    console = output.stdout()
    already = state.collector_runs()
    try:
        state.base_dir.mkdir(parents=True, exist_ok=True)
        state.make()
        state.daemon_log.touch(mode=0o600)  # a collector that cannot write could not even say so
    except (OSError, TrackingError) as error:
        raise output.Failure(f"cannot use {base_dir}: {error}") from error
    try:
        with console.status("starting the collector"):
            code = commands.start(base_dir, listen=listen)
    except TrackingError as error:
        raise output.Failure(f"the collector cannot start: {error}") from error
    if code:
        raise output.Failure(
            "a collector owns this folder, but does not answer" if already else "the collector does not answer",
            hint=f"see {state.daemon_log}; `ntrack doctor` tells more",
            code=code,
        )
    found = _ask_or_fail(state, "status")
    pid, address = found.get("pid"), (found.get("remote") or {}).get("address")
    if listen and not address:
        raise output.Failure(
            f"a collector runs here already, pid {pid}, and does not listen to other hosts",
            hint="`ntrack collector stop`, then start it again with --listen; trainings go on meanwhile",
        )
    done = "already runs here" if already else "started"
    console.print(f"[green]●[/] collector {done}, pid {pid}, log {output.text(state.daemon_log)}")
    if address:
        console.print(f"  listening to other hosts on {output.text(address)}")


@collector.command(short_help="Let it store what it holds, and leave.")
@click.option("--timeout", default=40.0, show_default=True, help="Seconds to wait for it to leave.")
@output.base_dir_option
def stop(base_dir: Path, timeout: float) -> None:
    """Stop the collector: it takes nothing new, stores what it holds, and leaves.

    Nothing is lost: what trainings log meanwhile waits in their outboxes. Exit code 4 says that it
    still holds its folder after the timeout.
    """
    from neural.tracking.collector import commands

    state = State.for_base_dir(base_dir)
    console = output.stdout()
    if not state.collector_runs():
        console.print("no collector runs here")
        return
    with console.status("waiting for the collector to store what it holds"):
        code = commands.stop(base_dir, timeout_s=timeout)
    if code:
        raise output.Failure(
            f"the collector is still at work after {timeout:g} s",
            hint="it goes on by itself; `ntrack status` shows what is left",
            code=code,
        )
    console.print("collector stopped")


@collector.command(short_help="Say whether one runs.")
@output.json_option
@output.base_dir_option
def status(base_dir: Path, as_json: bool) -> None:
    """Say whether a collector runs; exit code 4 if none answers."""
    state = State.for_base_dir(base_dir)
    found = _ask_or_fail(state, "status")
    if as_json:
        output.print_json(found)
        return
    from neural.tracking.cli.status import collector_lines

    for line in collector_lines(found):
        output.stdout().print(line)


@collector.command(short_help="Run in the foreground, for service managers.")
@click.option(
    "--idle-exit",
    type=float,
    default=None,
    metavar="SECONDS",
    help="Leave when idle for so long; default: stay.",
)
@_listen_option
@output.base_dir_option
def run(base_dir: Path, idle_exit: float | None, listen: str | None) -> None:
    """Run the collector in the foreground, for systemd and containers; stop it with SIGTERM.

    Leaves with 0 at once when a collector already runs here, 3 when something was left undone.
    """
    from neural.tracking.collector import commands

    try:
        code = commands.run(
            base_dir, auto=idle_exit is not None, idle_exit_s=idle_exit, verbose=True, listen=listen
        )
    except (OSError, TrackingError) as error:
        raise output.Failure(f"the collector could not start: {error}") from error
    output.leave(code)


def _ask_or_fail(state: State, cmd: str) -> dict[str, Any]:
    try:
        return request(state, cmd)
    except CollectorUnreachableError as error:
        if state.collector_runs():
            raise output.Failure(
                f"a collector owns {state.root}, but does not answer",
                hint="it may be suspended or starting; `ntrack doctor` tells more",
                code=EXIT_UNREACHABLE,
            ) from error
        raise output.Failure(
            "no collector runs here",
            hint="a tracker starts one by itself; `ntrack collector start` starts one now",
            code=EXIT_UNREACHABLE,
        ) from error

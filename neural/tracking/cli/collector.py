"""``ntrack collector``: starts, stops and shows the daemon."""

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
    """Start, stop and show the collector.

    One collector serves all runs of one folder on this host. Trackers start it automatically, and it exits
    after ten idle minutes. Use these commands to check it, for a service manager, or to keep it running.
    """


_listen_option = click.option(
    "--listen",
    metavar="tcp://HOST:PORT",
    help="Also accept trainings on other hosts; default as in config.toml, else not. See `ntrack keys`.",
)


@collector.command(short_help="Start the collector in the background.")
@_listen_option
@output.base_dir_option
def start(base_dir: Path, listen: str | None) -> None:
    """Start a collector in the background, unless one runs, and wait until it answers."""
    from neural.tracking.collector import commands

    state = State.for_base_dir(base_dir)
    console = output.stdout()
    already = state.collector_runs()
    try:
        state.base_dir.mkdir(parents=True, exist_ok=True)
        state.make()
        state.daemon_log.touch(mode=0o600)  # else a collector that cannot write could not report it
    except (OSError, TrackingError) as error:
        raise output.Failure(f"cannot use {base_dir}: {error}") from error
    try:
        with console.status("starting the collector"):
            code = commands.start(base_dir, listen=listen)
    except TrackingError as error:
        raise output.Failure(f"the collector cannot start: {error}") from error
    if code:
        raise output.Failure(
            "a collector runs for this folder but does not answer"
            if already
            else "the collector does not answer",
            hint=f"see {state.daemon_log}, or run `ntrack doctor`",
            code=code,
        )
    found = _ask_or_fail(state, "status")
    pid, address = found.get("pid"), (found.get("remote") or {}).get("address")
    if listen and not address:
        raise output.Failure(
            f"a collector runs already, pid {pid}, and does not listen to other hosts",
            hint="run `ntrack collector stop`, then start it again with --listen; trainings can continue",
        )
    done = "runs already" if already else "started"
    console.print(f"[green]●[/] collector {done}, pid {pid}, log {output.text(state.daemon_log)}")
    if address:
        console.print(f"  listening to other hosts on {output.text(address)}")


@collector.command(short_help="Stop the collector.")
@click.option("--timeout", default=40.0, show_default=True, help="Seconds to wait.")
@output.base_dir_option
def stop(base_dir: Path, timeout: float) -> None:
    """Stop the collector: it accepts nothing new, stores the events that it has, and exits.

    No event is lost: events of running trainings wait in their outboxes. Exit code 4: the collector still
    runs after the timeout.
    """
    from neural.tracking.collector import commands

    state = State.for_base_dir(base_dir)
    console = output.stdout()
    if not state.collector_runs():
        console.print("no collector runs for this folder")
        return
    with console.status("waiting for the collector to store its events"):
        code = commands.stop(base_dir, timeout_s=timeout)
    if code:
        raise output.Failure(
            f"the collector has not stopped after {timeout:g} s",
            hint="it stops when its events are stored; run `ntrack status` to see what is left",
            code=code,
        )
    console.print("collector stopped")


@collector.command(short_help="Show whether the collector runs.")
@output.json_option
@output.base_dir_option
def status(base_dir: Path, as_json: bool) -> None:
    """Show the state of the collector. Exit code 4: no collector answers."""
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
    help="Exit after this idle time; default: run until stopped.",
)
@_listen_option
@output.base_dir_option
def run(base_dir: Path, idle_exit: float | None, listen: str | None) -> None:
    """Run the collector in the foreground, for systemd and containers. Stop it with SIGTERM.

    Exit code 0: it stopped, or another collector runs already for this folder. 3: events were left.
    """
    from neural.tracking.collector import commands

    try:
        code = commands.run(
            base_dir, auto=idle_exit is not None, idle_exit_s=idle_exit, verbose=True, listen=listen
        )
    except (OSError, TrackingError) as error:
        raise output.Failure(f"the collector cannot start: {error}") from error
    output.leave(code)


def _ask_or_fail(state: State, cmd: str) -> dict[str, Any]:
    try:
        return request(state, cmd)
    except CollectorUnreachableError as error:
        if state.collector_runs():
            raise output.Failure(
                f"a collector holds the lock of {state.root} but does not answer",
                hint="it may be suspended or starting; run `ntrack doctor` to find the cause",
                code=EXIT_UNREACHABLE,
            ) from error
        raise output.Failure(
            "no collector runs for this folder",
            hint="a tracker starts one automatically; run `ntrack collector start` to start one now",
            code=EXIT_UNREACHABLE,
        ) from error

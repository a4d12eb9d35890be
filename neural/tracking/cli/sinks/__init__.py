"""``ntrack sinks``: manages sinks and shows the state of their deliveries."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from neural.tracking.cli import output
from neural.tracking.cli.sinks.dead_letters import dead_letters
from neural.tracking.cli.sinks.edit import add, disable, enable, remove
from neural.tracking.cli.sinks.replay import replay
from neural.tracking.cli.sinks.select import one_sink
from neural.tracking.core import interpreter
from neural.tracking.core.exit_status import EXIT_LEFT
from neural.tracking.errors import CollectorUnreachableError, ConfigError, TrackingError
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sink_state.status import SinkStatus, known_sinks, sink_statuses
from neural.tracking.sinks.registry import check_options, sink_class
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State

NO_SINKS = "no sinks: run `ntrack sinks add NAME --type TYPE` to add one, or set backend=TYPE in a run"
_STATES = {
    "ok": "[green]● ok[/]",
    "delivering": "[cyan]◐ delivering[/]",
    "retrying": "[yellow]! retrying[/]",
    "holding": "[yellow]! holding[/]",
    "not installed": "[yellow]! not installed[/]",
    "detached": "[yellow]! detached[/]",
    "disabled": "[dim]○ disabled[/]",
    "misconfigured": "[red]✗ misconfigured[/]",
}


@click.group()
def sinks() -> None:
    """Manage sinks, which deliver runs to MLflow, W&B, TensorBoard, JSONL or your own backend.

    A run can name sinks (backend=, NTRACK_SINKS); a sink that is added here gets all runs by default. Each sink
    has its own process: if one is slow or fails, the others are not delayed, and it catches up later.
    """


for command in (add, remove, enable, disable, replay, dead_letters):
    sinks.add_command(command)


def _collector_status(base_dir: Path) -> dict[str, Any] | None:
    with contextlib.suppress(CollectorUnreachableError):
        return request(State.for_base_dir(base_dir), "status")
    return None


def _statuses(base_dir: Path, found: Mapping[str, Any] | None) -> list[SinkStatus]:
    state = State.for_base_dir(base_dir)
    if found and found.get("sinks_trouble"):
        click.echo(f"the collector uses its old sink settings: {found['sinks_trouble']}", err=True)
    try:
        return [_checked(status, known_sinks(state)) for status in sink_statuses(state, found)]
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error


def _checked(status: SinkStatus, known: Mapping[str, SinkConfig]) -> SinkStatus:
    """Return the status, corrected if the configuration is wrong and no worker has noticed it yet."""
    config = known.get(status.name)
    if config is None or config.python is not None:  # another interpreter may have other sink types
        return status
    if status.state in ("ok", "delivering"):
        try:
            check_options(sink_class(config.type), config)
        except ConfigError as error:
            return status._replace(state="misconfigured", last_error=str(error))
    return status


def _lag(status: SinkStatus, unit: str = "") -> str:
    """Return the lag in events and, unless a run is held, in time: the time of a held run is unknown."""
    events = f"{output.count(status.lag_events)}{unit}"
    return events if status.state == "holding" else f"{events}, {output.duration(status.lag_s)}"


@sinks.command(name="ls", short_help="List the sinks and their state.")
@output.json_option
@output.base_dir_option
def list_sinks(base_dir: Path, as_json: bool) -> None:
    """List the sinks with their state, lag, dead letters and last error."""
    answer = _collector_status(base_dir)
    found = _statuses(base_dir, answer)
    if as_json:
        output.print_json([status._asdict() for status in found])
        return
    console = output.stdout()
    for line in _ignored_settings(answer or {}):
        console.print(line)
    if not found:
        console.print(NO_SINKS)
        return
    heads = ("sink", "type", "runs", "state", "lag", "delivered", "dead letters", "last error")
    right = ("lag", "delivered", "dead letters")
    table = output.table(*heads, right=right, flexible=("last error",))
    for status in found:
        lag_text = _lag(status) if status.lag_events else "–"
        letters = status.dead_letters
        table.add_row(
            f"[bold]{status.name}[/]",
            output.text(status.type),
            status.runs,
            _STATES.get(status.state, status.state),
            lag_text,
            output.count(status.delivered_events),
            f"[yellow]{output.count(letters)}[/]" if letters else "0",
            output.text(status.last_error or ""),
        )
    console.print(table)


def _ignored_settings(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting that a run of another host requests and that is ignored."""
    lines = {
        f"[yellow]![/] {output.text(session.get('name'))}_{session['uid'][:8]} of "
        f"{output.text(session.get('via'))}: {output.text(text)}": None
        for session in answer.get("sessions", ())
        for text in session.get("unheeded", ())
    }
    return list(lines)


@sinks.command(short_help="Show the lag of each sink.")
@click.argument("name", required=False)
@output.json_option
@output.base_dir_option
def lag(name: str | None, base_dir: Path, as_json: bool) -> None:
    """Show the lag of all sinks, or of one, in events and time. Exit code 3: a sink has a lag."""
    found = [
        status for status in _statuses(base_dir, _collector_status(base_dir)) if name in (None, status.name)
    ]
    if name is not None and not found:
        one_sink(base_dir, name)  # raises if the sink does not exist; otherwise it has delivered nothing yet
    if as_json:
        output.print_json([{"name": s.name, "lag_events": s.lag_events, "lag_s": s.lag_s} for s in found])
    else:
        for status in found:
            output.stdout().print(f"{status.name}: {_lag(status, ' events')}")
        if not found:
            output.stdout().print(NO_SINKS)
    if any(status.lag_events for status in found):
        output.leave(EXIT_LEFT)


@sinks.command(short_help="Deliver a small test run and read it back.")
@click.argument("name")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for the backend.")
@output.base_dir_option
def test(name: str, base_dir: Path, timeout: float) -> None:
    """Deliver a small run named ntrack-test to a sink and read it back. The run stays in the backend."""
    config = one_sink(base_dir, name)
    python = config.python or interpreter.to_start()
    command = [python, "-P", "-m", "neural.tracking.collector.delivery.probe", name]
    console = output.stdout()
    try:
        with console.status(f"delivering to {name}"):
            done = subprocess.run(
                [*command, "--base-dir", str(base_dir.absolute())],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise output.Failure(f"{name} did not accept the test run within {timeout:g} s") from None
    except OSError as error:
        raise output.Failure(f"cannot start {python}: {error}") from error
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["no error message"]
        raise output.Failure(f"{name} failed (exit code {done.returncode}): {last[0]}") from None
    if not found["ok"]:
        raise output.Failure(f"{name}: {found['told']}")
    console.print(f"[green]●[/] {name}: {output.text(found['told'])}")
    if found["link"]:
        console.print(f"  [dim]{output.text(found['link'])}[/]", soft_wrap=True)

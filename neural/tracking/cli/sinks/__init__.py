"""``ntrack sinks``: where runs are delivered to beside their folders, and how that goes."""

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

NO_SINKS = "no sinks here: `ntrack sinks add NAME --type TYPE` adds one, backend=TYPE names one"
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
    """Deliver runs to MLflow, W&B, TensorBoard, JSONL or a sink of your own.

    A run names sinks itself (backend=, NTRACK_SINKS), or a sink added here takes all runs. Each delivers
    in a process of its own: one that is down, slow or broken holds up nothing else and catches up later.
    """


for command in (add, remove, enable, disable, replay, dead_letters):
    sinks.add_command(command)


def _asked(base_dir: Path) -> dict[str, Any] | None:
    with contextlib.suppress(CollectorUnreachableError):
        return request(State.for_base_dir(base_dir), "status")
    return None


def _statuses(base_dir: Path, found: Mapping[str, Any] | None) -> list[SinkStatus]:
    state = State.for_base_dir(base_dir)
    if found and found.get("sinks_trouble"):
        click.echo(f"the collector goes on with the sinks it had: {found['sinks_trouble']}", err=True)
    try:
        return [_examined(status, known_sinks(state)) for status in sink_statuses(state, found)]
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error


def _examined(status: SinkStatus, known: Mapping[str, SinkConfig]) -> SinkStatus:
    """Return the status, corrected where no worker has tried yet what cannot work."""
    config = known.get(status.name)
    if config is None or config.python is not None:  # another interpreter may have other types
        return status
    if status.state in ("ok", "delivering"):
        try:
            check_options(sink_class(config.type), config)
        except ConfigError as error:
            return status._replace(state="misconfigured", last_error=str(error))
    return status


def _behind(status: SinkStatus, unit: str = "") -> str:
    """Return how many events are missing, and for how long: of a run that is held back nobody knows that."""
    events = f"{output.count(status.lag_events)}{unit}"
    return events if status.state == "holding" else f"{events}, {output.duration(status.lag_s)}"


@sinks.command(name="ls", short_help="List the sinks and how they fare.")
@output.json_option
@output.base_dir_option
def list_sinks(base_dir: Path, as_json: bool) -> None:
    """List the sinks: state, what each still has to deliver, what it set aside, its last error."""
    answer = _asked(base_dir)
    found = _statuses(base_dir, answer)
    if as_json:
        output.print_json([status._asdict() for status in found])
        return
    console = output.stdout()
    for line in _unheeded(answer or {}):
        console.print(line)
    if not found:
        console.print(NO_SINKS)
        return
    heads = ("sink", "type", "runs", "state", "behind", "delivered", "set aside", "last error")
    right = ("behind", "delivered", "set aside")
    table = output.table(*heads, right=right, flexible=("last error",))
    for status in found:
        behind = "–"
        if status.lag_events:
            behind = _behind(status)
        letters = status.dead_letters
        table.add_row(
            f"[bold]{status.name}[/]",
            output.text(status.type),
            status.runs,
            _STATES.get(status.state, status.state),
            behind,
            output.count(status.delivered_events),
            f"[yellow]{output.count(letters)}[/]" if letters else "0",
            output.text(status.last_error or ""),
        )
    console.print(table)


def _unheeded(answer: Mapping[str, Any]) -> list[str]:
    """Return lines on what runs of other hosts ask of sinks and do not get, each run once."""
    told = {
        f"[yellow]![/] {output.text(session.get('name'))}_{session['uid'][:8]} of "
        f"{output.text(session.get('via'))}: {output.text(text)}": None
        for session in answer.get("sessions", ())
        for text in session.get("unheeded", ())
    }
    return list(told)


@sinks.command(short_help="Say how far behind each sink is.")
@click.argument("name", required=False)
@output.json_option
@output.base_dir_option
def lag(name: str | None, base_dir: Path, as_json: bool) -> None:
    """Say how far each sink, or one, is behind: events and seconds. Exit code 3 if any is."""
    found = [status for status in _statuses(base_dir, _asked(base_dir)) if name in (None, status.name)]
    if name is not None and not found:
        one_sink(base_dir, name)  # raises where there is none: it has simply nothing to do yet
    if as_json:
        output.print_json([{"name": s.name, "lag_events": s.lag_events, "lag_s": s.lag_s} for s in found])
    else:
        for status in found:
            output.stdout().print(f"{status.name}: {_behind(status, ' events')}")
        if not found:
            output.stdout().print(NO_SINKS)
    if any(status.lag_events for status in found):
        output.leave(EXIT_LEFT)


@sinks.command(short_help="Deliver a tiny run and read it back.")
@click.argument("name")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for the backend.")
@output.base_dir_option
def test(name: str, base_dir: Path, timeout: float) -> None:
    """Deliver a tiny run named ntrack-test to a sink and read it back; it stays there."""
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
        raise output.Failure(f"{name} did not take the run within {timeout:g} s") from None
    except OSError as error:
        raise output.Failure(f"{python} could not be started: {error}") from error
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise output.Failure(f"{name} failed (exit code {done.returncode}): {last[0]}") from None
    if not found["ok"]:
        raise output.Failure(f"{name}: {found['told']}")
    console.print(f"[green]●[/] {name}: {output.text(found['told'])}")
    if found["link"]:
        console.print(f"  [dim]{output.text(found['link'])}[/]", soft_wrap=True)

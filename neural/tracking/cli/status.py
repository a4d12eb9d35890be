"""``ntrack status``: shows what the collector does, what waits for it, and problems."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from neural.tracking.cli import output
from neural.tracking.core.exit_status import EXIT_LEFT
from neural.tracking.errors import CollectorUnreachableError, TrackingError
from neural.tracking.sink_state.status import SinkStatus, sink_statuses
from neural.tracking.state.control_client import request
from neural.tracking.state.outbox_list import (
    OutboxSummary,
    collector_starts,
    list_outboxes,
    list_remote_outboxes,
)
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import list_quarantined


@click.command()
@output.json_option
@output.base_dir_option
def status(base_dir: Path, as_json: bool) -> None:
    """Show the collector, the processes that log, the workers, and the events that wait.

    Exit code 0: no problem; also if no collector runs because none is needed. 3: events wait and no
    collector answers, or its disk refuses writes.
    """
    state = State.for_base_dir(base_dir)
    try:
        found: dict[str, Any] | None = request(state, "status")
    except CollectorUnreachableError:
        found = None
    waiting = [outbox for outbox in list_outboxes(state) if not outbox.live]
    elsewhere = list_remote_outboxes(state)
    if as_json:
        output.print_json(
            {
                "base_dir": str(state.base_dir),
                "state_dir": str(state.root),
                "collector": found,
                "sinks": [sink._asdict() for sink in _sinks(state, found).values()],
                "suspended": found is None and state.collector_runs(),
                "waiting": [_outbox_json(outbox) for outbox in waiting],
                "for_other_hosts": [_outbox_json(outbox) for outbox in elsewhere],
                "quarantined": [run.to_dict() for run in list_quarantined(state)],
            }
        )
    else:
        _print_status(state, found, waiting)
        _print_elsewhere(elsewhere)
    stuck = found is not None and found.get("disk", {}).get("state", "ok") != "ok"
    if stuck or (found is None and waiting):
        output.leave(EXIT_LEFT)


def _print_status(state: State, found: Mapping[str, Any] | None, waiting: Sequence[OutboxSummary]) -> None:
    console = output.stdout()
    console.print(f"[bold]{output.text(state.base_dir)}[/]")
    if found is not None:
        for line in collector_lines(found):
            console.print(line)
        if sessions := found.get("sessions"):
            console.print(_sessions_table(sessions))
        if workers := found.get("workers"):
            console.print(_workers_table(workers, _sinks(state, found)))
    elif state.collector_runs() and collector_starts(state):
        console.print("[yellow]…[/] a collector is starting [dim](try again in a moment)[/]")
    elif state.collector_runs():
        console.print("[red]✗[/] a collector runs for this folder but does not answer")
        console.print(
            "  [dim]→ trainings continue, their events wait; run `ntrack doctor` to find the cause[/]"
        )
    else:
        console.print(
            "[dim]○[/] no collector runs for this folder [dim](trackers start one when they need it)[/]"
        )
    for outbox in waiting:
        who = "its tracker has finished" if outbox.released else "its process has ended"
        console.print(
            f"[yellow]![/] {output.text(outbox.run)}: {who} and left up to "
            f"{output.count(outbox.emitted)} events, {output.size(outbox.size_bytes)} on disk"
        )
    for run in list_quarantined(state):
        console.print(
            f"[red]✗[/] {output.text(run.run)}: the store cannot use its folder; {output.size(run.size_bytes)} "
            f"wait in quarantine: {output.text(run.error)}"
        )
        console.print("  [dim]→ nothing is lost; the store tries again automatically; see `ntrack doctor`[/]")
    if waiting and found is None and not state.collector_runs():
        console.print("  [dim]→ run `ntrack collector start` to store them; the next tracker does so, too[/]")


def _print_elsewhere(outboxes: Sequence[OutboxSummary]) -> None:
    """Print the outboxes whose events go to collectors on other hosts."""
    console = output.stdout()
    for outbox in outboxes:
        to, run = output.text(outbox.collector or "?"), output.text(outbox.run)
        size = output.size(outbox.size_bytes)
        if outbox.live:
            console.print(f"[cyan]→[/] {run}: pid {outbox.pid} logs to {to}, outbox {size}")
        else:
            console.print(f"[yellow]![/] {run}: its process has ended and left an outbox for {to}, {size}")
            console.print(
                "  [dim]→ a courier ships it; run `ntrack outbox ship` to do so now and to see errors[/]"
            )


def collector_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that describe the status of a collector."""
    uptime = output.duration(time.time() - found.get("started_ns", 0) / 1e9)
    yield (
        f"[green]●[/] collector {output.text(found.get('version', '?'))}, pid {found.get('pid')}, up {uptime}, "
        f"{output.count(found.get('events_total', 0))} events received since"
    )
    if remote := found.get("remote"):
        allowed = len(remote.get("allowed") or ())
        yield (
            f"  [dim]listens to other hosts on[/] {output.text(remote['address'])}, "
            f"[dim]allows[/] {allowed} {'key' if allowed == 1 else 'keys'}"
        )
        if refused := [one for one in remote.get("refused") or () if one.get("key")]:
            last = refused[-1]
            yield (
                f"[yellow]![/] {len(refused)} {'key' if len(refused) == 1 else 'keys'} refused, the last from "
                f"{output.text(last['address'])} {output.ago(last['time_ns'])}; see `ntrack keys ls`"
            )
    log = found.get("log", {})
    yield (
        f"  [dim]log[/] {output.size(log.get('bytes', 0))} in {log.get('segments', 0)} "
        f"{'file' if log.get('segments') == 1 else 'files'}, [dim]until every worker has read it[/]"
    )
    artifacts = found.get("artifacts", {})
    if artifacts.get("waiting"):
        number = output.count(artifacts["waiting"])
        yield f"  [dim]artifacts[/] {number} being stored or waiting for their bytes"
    for held in artifacts.get("held") or ():
        run, why = output.text(held["run"]), output.text(held["error"])
        yield f"[red]✗[/] artifacts of {run} wait for its folder: {why}"
        yield "  [dim]→ nothing is lost; the collector tries again automatically, at least once a minute[/]"
    if damaged := artifacts.get("damaged"):
        number = output.several(len(damaged), "artifact")
        yield f"[red]✗[/] {number} cannot be stored: {output.text(damaged[0])}"
        yield "  [dim]→ the bytes are kept in the spool; see `ntrack doctor`[/]"
    if artifacts.get("last_error"):
        yield f"[yellow]![/] an artifact will be tried again: {output.text(artifacts['last_error'])}"
    disk = found.get("disk", {})
    if disk.get("state", "ok") != "ok":
        why = disk.get("error") or disk["state"]
        yield f"[red]✗[/] the disk refuses writes: {output.text(why)}"
        yield "  [dim]→ free some space; it tries again every 5 s. Until then trainings keep events,[/]"
        yield "  [dim]  and record gaps for events that they have no space for[/]"


def _sessions_table(sessions: Sequence[Mapping[str, Any]]) -> Table:
    table = output.table(
        "run", "rank", "process", "events", "state", right=("rank", "events"), flexible=("run", "process")
    )
    for session in sessions:
        where = f"{session.get('pid', '?')} on {session.get('host', '?')}"
        if via := session.get("via"):
            where += f" (key {via})"
        table.add_row(
            output.text(session.get("name", "?")),
            str(session.get("rank", "–")),
            output.text(where),
            output.count(session.get("last", 0)),
            output.text(session.get("state", "?")),
        )
    return table


def _sinks(state: State, found: Mapping[str, Any] | None) -> dict[str, SinkStatus]:
    """Return the sinks by name; an empty dict if they cannot be read: `sinks ls` reports the reason."""
    try:
        return {sink.name: sink for sink in sink_statuses(state, found)}
    except (TrackingError, OSError):
        return {}


def _lag(worker: Mapping[str, Any], sink: SinkStatus | None) -> str:
    """Return the lag of a worker; for a sink in events, since it may have read but not delivered them."""
    if sink is None:
        return output.size(worker.get("lag_bytes") or 0)
    if not sink.lag_events:
        return "0 events"
    return f"{output.count(sink.lag_events)} events, {output.duration(sink.lag_s)}"


def _workers_table(workers: Sequence[Mapping[str, Any]], sinks: Mapping[str, SinkStatus]) -> Table:
    table = output.table(
        "worker",
        "state",
        "lag",
        "restarts",
        "last error",
        right=("lag", "restarts"),
        flexible=("last error",),
    )
    for worker in workers:
        restarts = worker.get("restarts", 0)
        table.add_row(
            output.text(worker.get("name", "?")),
            output.text(worker.get("state", "?")),
            _lag(worker, sinks.get(str(worker.get("name")))),
            f"[yellow]{restarts}[/]" if restarts else "0",
            output.text(worker.get("last_error") or ""),
        )
    return table


def _outbox_json(outbox: OutboxSummary) -> dict[str, Any]:
    return {
        "session": outbox.session,
        "run": outbox.run,
        "pid": outbox.pid,
        "events_up_to": outbox.emitted,
        "size_bytes": outbox.size_bytes,
        "folder": str(outbox.folder),
    }

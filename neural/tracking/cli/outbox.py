"""``ntrack outbox``: what waits on this host for a collector on another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from neural.tracking.cli import output
from neural.tracking.core.exit_status import EXIT_LEFT
from neural.tracking.state.outbox_list import OutboxSummary, list_remote_outboxes
from neural.tracking.state.paths import State


@click.group()
def outbox() -> None:
    """Look at what waits here for a collector on another host, and ship it.

    Trainings ship what they log, and a courier beside them ships what those leave behind that are gone;
    these commands are for looking, and for hosts where neither runs.
    """


@outbox.command(name="ls", short_help="List what waits here.")
@output.json_option
@output.base_dir_option
def list_waiting(base_dir: Path, as_json: bool) -> None:
    """List the outboxes of this host whose events go to collectors on others."""
    found = list_remote_outboxes(State.for_base_dir(base_dir))
    if as_json:
        output.print_json([_json(item) for item in found])
        return
    console = output.stdout()
    if not found:
        console.print("nothing waits here for a collector on another host")
        return
    table = output.table(
        "run", "to", "process", "events", "on disk", right=("events", "on disk"), flexible=("run", "to")
    )
    for item in found:
        where = f"{item.pid}, {'running' if item.live else 'gone'}"
        to, events = output.text(item.collector or "?"), output.count(item.emitted)
        table.add_row(output.text(item.run), to, where, events, output.size(item.size_bytes))
    console.print(table)


@outbox.command(short_help="Ship what is left behind, now.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to try.")
@output.base_dir_option
def ship(base_dir: Path, timeout: float) -> None:
    """Ship what processes that are gone have left here, and wait for it to be stored.

    Exit code 3: something is left after the timeout; it stays where it is.
    """
    from neural.tracking.agent.courier.courier import Courier, claim_courier

    state = State.for_base_dir(base_dir)
    console = output.stdout()
    before = _left(state)
    if not before:
        console.print("nothing is left behind here")
        return
    lock = claim_courier(state)
    deadline = time.monotonic() + timeout
    problems: dict[str, str] = {}
    with console.status(f"shipping {_n(before)}"):
        if lock is not None:
            courier = Courier(state)
            courier.run(lambda _: bool(_left(state)) and time.monotonic() < deadline)
            problems = courier.problems
        while lock is None and _left(state) and time.monotonic() < deadline:
            time.sleep(0.2)  # a courier is at it
    left = _left(state)
    if left:
        why = next((text for text in problems.values() if text), "it takes longer")
        hint = f"{why}; it stays in {state.remote_outbox}"
        raise output.Failure(f"{_n(left)} could not be shipped", hint=hint, code=EXIT_LEFT)
    console.print(f"[green]●[/] {_n(before)} shipped")


def _left(state: State) -> list[object]:
    """Return what somebody has to ship: outboxes without a process, and artifacts."""
    from neural.tracking.state import spool

    artifacts = [entry for entries in spool.waiting(state.remote_spool).values() for entry in entries]
    return [*(item for item in list_remote_outboxes(state) if not item.live), *artifacts]


def _n(items: Sequence[object]) -> str:
    outboxes = sum(isinstance(item, OutboxSummary) for item in items)
    artifacts = len(items) - outboxes
    told = [f"{outboxes} outbox{'' if outboxes == 1 else 'es'}"] if outboxes else []
    told += [f"{artifacts} artifact{'' if artifacts == 1 else 's'}"] if artifacts else []
    return " and ".join(told) or "nothing"


def _json(item: OutboxSummary) -> dict[str, object]:
    return {
        "session": item.session,
        "run": item.run,
        "collector": item.collector,
        "pid": item.pid,
        "running": item.live,
        "emitted": item.emitted,
        "size_bytes": item.size_bytes,
    }

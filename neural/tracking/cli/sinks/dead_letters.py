"""``ntrack sinks dead-letters``: events a sink refused for good, or died of."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from neural.tracking.cli import output
from neural.tracking.cli.sinks.select import notify_collector, one_sink
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.state.paths import State


@click.group(name="dead-letters", short_help="Look at what a sink refused; try again, or drop it.")
def dead_letters() -> None:
    """Look at the events a sink refused for good or died of; each is kept with its error."""


def _read(base_dir: Path, name: str) -> tuple[SinkFolder, list[dict[str, Any]]]:
    from neural.tracking.collector.delivery.dead_letters import read

    one_sink(base_dir, name)
    folder = SinkFolder(State.for_base_dir(base_dir), name)
    return folder, list(read(folder.dead_letters))


@dead_letters.command(name="ls", short_help="List them.")
@click.argument("name")
@output.json_option
@output.base_dir_option
def list_letters(name: str, base_dir: Path, as_json: bool) -> None:
    """List the events that were set aside, with the error of each."""
    from neural.tracking.collector.delivery.dead_letters import shown

    _, found = _read(base_dir, name)
    if as_json:
        output.print_json(found)
        return
    console = output.stdout()
    if not found:
        console.print(f"{name} set nothing aside")
        return
    heads = ("run", "event", "kind", "step", "holds", "error")
    table = output.table(*heads, right=("event", "step"), flexible=("holds", "error"))
    for letter in found:
        table.add_row(
            output.text(f"{letter['name']} {letter['run'][:8]}"),
            output.count(letter["seq"]),
            output.text(letter["kind"]),
            "–" if letter["step"] is None else str(letter["step"]),
            output.text(shown(letter)),
            output.text(letter["error"].strip().splitlines()[-1] if letter["error"].strip() else ""),
        )
    console.print(table)


@dead_letters.command(short_help="Deliver them again.")
@click.argument("name")
@output.base_dir_option
def retry(name: str, base_dir: Path) -> None:
    """Deliver all of them again; what is refused again is set aside again."""
    folder, found = _read(base_dir, name)
    if found:
        # Under another name: what the worker sets aside meanwhile begins a new file.
        os.rename(folder.dead_letters, folder.root / f"retry-{time.time_ns()}.jsonl")
        notify_collector(base_dir, "errand", sink=name)
    output.stdout().print(f"{output.count(len(found))} events are delivered again to {name}")


@dead_letters.command(short_help="Forget them.")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output.base_dir_option
def drop(name: str, base_dir: Path, yes: bool) -> None:
    """Forget all of them; the run folders keep the events all the same."""
    folder, found = _read(base_dir, name)
    if not yes and found:
        click.confirm(f"Drop {len(found)} events that {name} set aside?", abort=True)
    folder.dead_letters.unlink(missing_ok=True)
    output.stdout().print(f"{output.count(len(found))} events dropped")

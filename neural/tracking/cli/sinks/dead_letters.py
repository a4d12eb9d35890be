"""``ntrack sinks dead-letters``: events that a sink refused permanently, or that crashed it."""

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


@click.group(name="dead-letters", short_help="List, retry or drop events that a sink refused.")
def dead_letters() -> None:
    """List, retry or drop the events that a sink refused or that crashed it. Each is kept with its error."""


def _read(base_dir: Path, name: str) -> tuple[SinkFolder, list[dict[str, Any]]]:
    from neural.tracking.collector.delivery.dead_letters import read

    one_sink(base_dir, name)
    folder = SinkFolder(State.for_base_dir(base_dir), name)
    return folder, list(read(folder.dead_letters))


@dead_letters.command(name="ls", short_help="List the dead letters of a sink.")
@click.argument("name")
@output.json_option
@output.base_dir_option
def list_letters(name: str, base_dir: Path, as_json: bool) -> None:
    """List the dead letters of a sink with their errors."""
    from neural.tracking.collector.delivery.dead_letters import shown

    _, found = _read(base_dir, name)
    if as_json:
        output.print_json(found)
        return
    console = output.stdout()
    if not found:
        console.print(f"{name} has no dead letters")
        return
    heads = ("run", "event", "kind", "step", "content", "error")
    table = output.table(*heads, right=("event", "step"), flexible=("content", "error"))
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


@dead_letters.command(short_help="Deliver the dead letters of a sink again.")
@click.argument("name")
@output.base_dir_option
def retry(name: str, base_dir: Path) -> None:
    """Deliver all dead letters of a sink again. Events that are refused again become dead letters again."""
    folder, found = _read(base_dir, name)
    if found:
        # The file gets another name, so that the worker puts new dead letters into a new file.
        os.rename(folder.dead_letters, folder.root / f"retry-{time.time_ns()}.jsonl")
        notify_collector(base_dir, "errand", sink=name)
    output.stdout().print(f"{output.count(len(found))} events will be delivered to {name} again")


@dead_letters.command(short_help="Delete the dead letters of a sink.")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@output.base_dir_option
def drop(name: str, base_dir: Path, yes: bool) -> None:
    """Delete all dead letters of a sink. The run folders keep the events."""
    folder, found = _read(base_dir, name)
    if not yes and found:
        click.confirm(f"Drop {len(found)} dead letters of {name}?", abort=True)
    folder.dead_letters.unlink(missing_ok=True)
    output.stdout().print(f"{output.count(len(found))} dead letters dropped")

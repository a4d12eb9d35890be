"""Prints ``docs/cli.md``: the help of every command, as the commands themselves tell it.

python docs/make_cli.py > docs/cli.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from neural.tracking.cli import main

HEAD = """# The command line

`ntrack --help` says the same. Made by `python docs/make_cli.py > docs/cli.md`; a test compares.

Every command looks at `--base-dir`, else `NTRACK_DIR`, else `neural_experiments` below the current folder.
RUN is an id (`1a2b3c4d`), the beginning of one, a run's name (the newest of that name), or a path to a run
folder, also one that was moved; where it may be left out, the newest run is meant.

| exit code | means |
| --- | --- |
| 0 | all is well |
| 1 | it failed; the message says why and what to do |
| 2 | wrong usage |
| 3 | something is left: events on their way, or nobody there to store them |
| 4 | no collector answers |
| 6 | something that was emitted is missing or doubled, or bytes are damaged |
"""


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield a context for every command, groups before what is in them."""
    # A context of its own kind of each command: it knows how help is asked for, and how wide it is.
    made = command.context_class(
        command,
        parent=parent,
        info_name=name,
        max_content_width=100,
        terminal_width=100,
        **command.context_settings,
    )
    yield made
    if isinstance(command, click.Group):
        for inner_name in command.list_commands(made):
            inner = command.get_command(made, inner_name)
            assert inner is not None
            yield from contexts(inner, inner_name, made)


def reference() -> str:
    """Return the whole document."""
    parts = [HEAD]
    for context in contexts(main, "ntrack"):
        parts.append(f"## `{context.command_path}`\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())

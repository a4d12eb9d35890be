"""Prints ``docs/cli.md``: the help texts of all commands.

python docs/make_cli.py > docs/cli.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from neural.tracking.cli import main

HEAD = """# The command line

The help texts of all commands. Made by `python docs/make_cli.py > docs/cli.md`; a test checks it.

Every command uses the folder in `--base-dir`, else in `NTRACK_DIR`, else `neural_experiments` below the
current folder. RUN is an id (`1a2b3c4d`), a prefix of an id, a run's name (the newest run of that name), or a
path to a run folder, also one that was moved. Where RUN is optional, the default is the newest run.

| exit code | means |
| --- | --- |
| 0 | success |
| 1 | failure; the message says why and what to do |
| 2 | wrong usage |
| 3 | something is not done yet: events are pending, or no collector stores them |
| 4 | no collector answers |
| 6 | something that was emitted is missing, stored twice or damaged |
"""


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield a context for every command; a group before its commands."""
    # The context class of each command knows its help option and the width of the text.
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

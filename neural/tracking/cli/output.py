"""What all commands share: options, failures, and the format of output on a terminal or in a pipe."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neural.tracking.core.exit_status import EXIT_FAILED

SPARKS = "▁▂▃▄▅▆▇█"

# Each status has a mark and a word, so that nobody needs to see the colour.
_STATUS = {
    "created": ("dim", "○"),
    "running": ("cyan", "◐"),
    "completed": ("green", "●"),
    "failed": ("red", "✗"),
}

STATUSES = tuple(_STATUS)
_STATUS["damaged"] = ("red", "✗")

F = TypeVar("F", bound=Callable[..., Any])


def base_dir_option(command: F) -> F:
    """Add ``--base-dir`` to a command, which gets it as ``base_dir: Path``."""
    return click.option(
        "--base-dir",
        "-d",
        type=click.Path(file_okay=False, path_type=Path),
        default=lambda: Path(os.environ.get("NTRACK_DIR") or "neural_experiments"),
        help="Folder of the runs.  [default: $NTRACK_DIR or neural_experiments]",
    )(command)


def json_option(command: F) -> F:
    """Add ``--json`` to a command, which gets it as ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


class Failure(click.ClickException):
    """Ends the command with a message, a hint on what to do, and an exit code."""

    def __init__(self, message: str, *, hint: str = "", code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        setattr(self, "exit_code", code)  # noqa: B010 - click's types call it the class's, its code reads the instance's

    def show(self, file: Any = None) -> None:
        """Print the message and the hint to standard error."""
        console = Console(stderr=True, highlight=False)
        console.print(f"[red]✗[/] {escape(printable(self.message))}", soft_wrap=True)
        if self.hint:
            console.print(f"  [dim]→[/] {escape(printable(self.hint))}", soft_wrap=True)


def is_narrow(console: Console) -> bool:
    """Return whether tables must leave out less important columns."""
    return console.width < 110


def is_tiny(console: Console) -> bool:
    """Return whether only the most important columns of a table fit."""
    return console.width < 80


def stdout() -> Console:
    """Return the console for results; if standard output is no terminal, it is 120 or ``COLUMNS`` wide."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows ? instead
    if sys.stdout is not None and sys.stdout.isatty():
        return Console(highlight=False)
    columns = os.environ.get("COLUMNS", "")
    return Console(highlight=False, width=int(columns) if columns.isdecimal() and int(columns) else 120)


def leave(code: int) -> NoReturn:
    """End the command with this exit code."""
    click.get_current_context().exit(code)


def print_json(value: Any) -> None:
    """Print standard JSON: NaN and the infinities become text."""
    from neural.tracking.formats.event_lines import json_value

    unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    click.echo(json.dumps(json_value(value), indent=2, ensure_ascii=not unicode, default=str))


def table(*columns: str, right: Sequence[str] = (), flexible: Sequence[str] = (), title: str = "") -> Table:
    """Return an empty table; ``right`` columns are right-aligned, ``flexible`` ones may wrap."""
    made = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold",
        header_style="bold dim", pad_edge=False, padding=(0, 1),
    )  # fmt: skip
    for name in columns:
        made.add_column(
            name, justify="right" if name in right else "left", no_wrap=name not in flexible, min_width=4
        )
    return made


def text(value: Any) -> str:
    """Return text of a user, safe to print: markup is escaped, control characters are visible."""
    return escape(printable(str(value)))


def printable(value: str) -> str:
    """Return ``value`` with visible control characters: a name must not move the cursor."""
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in value)


def status_cell(status: str) -> str:
    """Return a status as markup with its mark and colour."""
    style, mark = _STATUS.get(status, ("yellow", "?"))
    return f"[{style}]{mark} {text(status)}[/]"


def number(value: float | int | None) -> str:
    """Return a metric's value in at most ten characters; ``--json`` and ``--csv`` have every digit."""
    if value is None:
        return "–"
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e7):
        return f"{int(value)}"
    return f"{value:.4g}"


def count(value: int) -> str:
    """Return a count with a thin space between groups of three digits."""
    return f"{value:,}".replace(",", "\u2009")


def several(count: int, what: str) -> str:
    """Return a count with a noun, given in the singular: ``2 blobs``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def size(size_bytes: float) -> str:
    """Return a number of bytes in B, KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024 or unit == "GiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units; a dash if it is negative."""
    if seconds < 0:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def ago(time_ns: int | None) -> str:
    """Return how long ago a time was (nanoseconds since 1970); a dash for None."""
    if not time_ns:
        return "–"
    seconds = time.time() - time_ns / 1e9
    if seconds < 2:
        return "just now"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def sparkline(values: Iterable[float], width: int = 24) -> str:
    """Return the curve of a metric as one line of text; a space where no value is finite."""
    values = list(values)
    if not values:
        return ""
    width = min(width, len(values))
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    means: list[float] = []
    for start, end in itertools.pairwise(edges):
        finite = [v for v in values[start : max(end, start + 1)] if math.isfinite(v)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    known = [mean for mean in means if math.isfinite(mean)]
    if not known:
        return " " * width
    low, spread = min(known), (max(known) - min(known)) or 1.0
    return "".join(
        SPARKS[min(7, int((mean - low) / spread * 8))] if math.isfinite(mean) else " " for mean in means
    )

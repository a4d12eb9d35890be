"""``ntrack verify``: compares what is stored with what was emitted, and lists what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from neural.tracking.api.run_list import start_delivery
from neural.tracking.cli import output
from neural.tracking.cli.select import no_runs, some_runs
from neural.tracking.core.exit_status import EXIT_LEFT

if TYPE_CHECKING:
    from neural.tracking.verify.counts import Spans
    from neural.tracking.verify.verify import Report, RunReport, SessionReport

_VERDICTS = {
    0: "[green]✓ complete[/]",
    3: "[yellow]… pending[/]",
    6: "[red]✗ incomplete[/]",
}


@click.command()
@click.argument("run", nargs=-1)
@output.json_option
@output.base_dir_option
def verify(run: tuple[str, ...], base_dir: Path, as_json: bool) -> None:
    """Prove that every event is stored, or list what is missing.

    Without RUN: all runs, and the events that are still in the log and in outboxes. RUN is an id, a prefix
    of an id, a name, or a path to a run folder, also one that was moved.

    The events of each session are numbered 1, 2, 3 … Every number must be stored exactly once, or be in a
    recorded gap with its reason. Every stored artifact must match its SHA-256. Views that differ from the
    stored data are listed. Old copies of parts, left by an interrupted merge, are removed from complete runs.

    Exit code 0: everything is stored. 3: some events are pending. 6: something is missing, stored twice
    or damaged.
    """
    report = _examine(base_dir, run, quiet=as_json)
    if as_json:
        output.print_json({"exit_code": report.exit_code, **_plain(asdict(report))})
    else:
        _print_report(report)
        if report.exit_code == EXIT_LEFT and start_delivery(base_dir):
            output.stdout().print("  [dim]→ started a collector to store the pending events[/]")
    if report.exit_code:
        output.leave(report.exit_code)


def _examine(base_dir: Path, wanted: Sequence[str], *, quiet: bool) -> Report:
    from neural.tracking.verify.verify import verify_base

    runs = some_runs(base_dir, wanted)
    columns = (
        TextColumn("verifying"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=len(runs), completed=-1)

        def begin(folder: Path) -> None:
            progress.update(task, description=output.text(folder.name), advance=1)

        try:
            report = verify_base(base_dir, runs if wanted else None, begin)
        except OSError as error:
            raise output.Failure(f"cannot verify {base_dir}: {error}") from error
    if not report.runs:
        raise no_runs(base_dir)
    return report


def _print_report(report: Report) -> None:
    console = output.stdout()
    heads = ("events", "stored", "gaps", "pending", "missing")[: 3 if output.is_tiny(console) else None]
    table = output.table("run", *heads, "result", right=heads, flexible=("run",))
    for run in report.runs:
        sessions = run.sessions
        counts = [
            sum(session.n for session in sessions),
            sum(session.stored for session in sessions),
            sum(last - first + 1 for session in sessions for first, last, _ in session.gaps),
            sum(_length(session.pending) for session in sessions),
            sum(_length(session.missing) for session in sessions),
        ]
        shown = [
            output.count(counts[0]),
            output.count(counts[1]),
            *(output.count(n) if n else "–" for n in counts[2:]),
        ]
        verdict = "[yellow]removed[/]" if run.removed else _VERDICTS[run.exit_code]
        table.add_row(output.text(run.folder.name), *shown[: len(heads)], verdict)
    console.print(table)
    for run in report.runs:
        for line in _details(run):
            console.print(f"  [bold]{output.text(run.folder.name)}[/] {line}", soft_wrap=True)
    for damage in report.damages:
        console.print(f"  [red]damaged[/] {output.text(damage)}", soft_wrap=True)
    if report.unseen:
        console.print(f"  [yellow]not checked[/] {output.text(report.unseen)}", soft_wrap=True)
    console.print(_verdict(report))


def _details(run: RunReport) -> Iterator[str]:
    """Yield a line for each gap, each pending, missing or damaged part, and each wrong view of a run."""
    for session in run.sessions:
        who = f"rank {session.rank}, session {session.session[:8]}"
        for first, last, reason in session.gaps:
            yield f"[yellow]gap[/] {_span(first, last)}: {output.text(reason)} [dim]({who})[/]"
        if session.open_gap:
            since = f"from event {session.n + 1} on, an unknown number"
            yield f"[yellow]open gap[/] {since}: {output.text(session.open_gap)} [dim]({who})[/]"
        for first, last in session.missing:
            yield f"[red]missing[/] {_span(first, last)}, without a recorded reason [dim]({who})[/]"
        for first, last in session.doubled:
            yield f"[red]stored more than once[/] {_span(first, last)} [dim]({who})[/]"
        if session.pending:
            yield f"[yellow]pending[/] {_pending(session)} [dim]({who})[/]"
    for name, seq, why in run.artifacts.lost:
        yield f"[yellow]gap[/] artifact {output.text(name)} of event {seq}: {output.text(why)}"
    for name, seq in run.artifacts.waiting:
        yield f"[yellow]pending[/] artifact {output.text(name)} of event {seq}"
    if run.cleared:
        yield f"[dim]removed[/] {len(run.cleared)} old copies of parts that a newer part replaces"
    for name in run.wrong_views:
        yield f"[yellow]view[/] {name} differs from the stored data: run `ntrack runs rebuild`"
    for damage in [*run.damages, *run.artifacts.damages]:
        yield f"[red]damaged[/] {output.text(damage)}"


def _pending(session: SessionReport) -> str:
    spans = [_span(first, last) for first, last in session.pending[:3]]
    return ", ".join(spans) + (" …" if len(session.pending) > 3 else "")


def _verdict(report: Report) -> str:
    number = len(report.runs)
    runs = "1 run" if number == 1 else f"{number} runs"
    if report.exit_code == 0:
        gaps = any(s.gaps or s.open_gap for run in report.runs for s in run.sessions)
        gaps = gaps or any(run.artifacts.lost for run in report.runs)
        every = "every event is stored exactly once" + (", or in a recorded gap" if gaps else "")
        return f"[green]✓[/] {runs}: {every}"
    if report.exit_code == 3:
        return f"[yellow]…[/] {runs}: some events are pending; nothing is missing [dim](exit code 3)[/]"
    wrong = sum(run.exit_code == 6 for run in report.runs)
    where = f"{wrong} of {runs} incomplete or damaged" if wrong else "the log or an outbox is damaged"
    return f"[red]✗[/] {where} [dim](exit code 6)[/]"


def _span(first: int, last: int) -> str:
    return f"event {first}" if first == last else f"events {first}–{last}"


def _length(spans: Spans) -> int:
    return sum(last - first + 1 for first, last in spans)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

"""``ntrack doctor``: finds problems and says how to fix them."""

from __future__ import annotations

from pathlib import Path

import click

from neural.tracking.cli import output
from neural.tracking.core.exit_status import EXIT_FAILED

_MARKS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "problem": "[red]✗[/]"}


@click.command()
@output.json_option
@output.base_dir_option
def doctor(base_dir: Path, as_json: bool) -> None:
    """Find problems of this machine and folder, and say how to fix them.

    Checks the installation, the folder, its file system and free space, the collector, its log, and
    outboxes that no process empties. Changes nothing. Exit code 1: there is a problem.
    """
    from neural.tracking.doctor.checks import examine, worst
    from neural.tracking.doctor.finding import PROBLEM

    findings = []
    console = output.stdout()
    with console.status("checking"):
        for finding in examine(base_dir):
            findings.append(finding)
            if as_json:
                continue
            mark = _MARKS[finding.level]
            console.print(f"{mark} [bold]{finding.subject:<14}[/] {output.text(finding.seen)}", soft_wrap=True)
            if finding.advice:
                console.print(f"  {'':<14} [dim]→ {output.text(finding.advice)}[/]", soft_wrap=True)
    if as_json:
        output.print_json([finding._asdict() for finding in findings])
    problems = sum(finding.level == PROBLEM for finding in findings)
    if not as_json:
        console.print()
        console.print(
            "[green]no problems[/]" if not problems
            else f"[red]{output.several(problems, 'problem')}[/]"
        )  # fmt: skip
    if worst(findings) == PROBLEM:
        output.leave(EXIT_FAILED)

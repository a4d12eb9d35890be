"""``ntrack doctor``: what is wrong here, and what to do."""

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
    """Look for what is wrong here, and say what to do.

    Looks at the installation, the folder, its file system and space, the collector, its log, and
    outboxes nobody empties; changes nothing. Exit code 1 if something is wrong.
    """
    from neural.tracking.doctor.checks import examine, worst
    from neural.tracking.doctor.finding import PROBLEM

    findings = []
    console = output.stdout()
    with console.status("looking"):
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
            "[green]nothing is wrong[/]" if not problems
            else f"[red]{problems} {'thing is' if problems == 1 else 'things are'} wrong[/]"
        )  # fmt: skip
    if worst(findings) == PROBLEM:
        output.leave(EXIT_FAILED)

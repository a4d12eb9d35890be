"""Finds the run a user names on the command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from neural.tracking.api.run_list import start_delivery
from neural.tracking.cli.output import Failure, ago
from neural.tracking.reader.run import Damaged, Run
from neural.tracking.reader.run_list import is_run_folder, list_runs, without_copies


def one_run(base_dir: Path, wanted: str | None, damaged: Damaged = "raise") -> Run:
    """Return the run named by id, the beginning of one, name or folder; None means the newest.

    A name several runs share means the newest of them; the beginning of an id must be unique. A path
    may lead anywhere: a run that was moved reads as before. A run and its copy bear the same id: which of
    them is meant, only the folder's name or a path says. ``damaged``
    is as for ``Run``.
    """
    if wanted is not None and (os.sep in wanted or wanted in (".", "..")):
        if not is_run_folder(Path(wanted)):
            raise Failure(f"{wanted} is no run folder", hint="one holds a run.json")
        return Run(Path(os.path.abspath(wanted)), damaged)
    start_delivery(base_dir)
    runs = list_runs(base_dir, damaged)
    if not runs:
        raise no_runs(base_dir)
    if wanted is None:
        return without_copies(runs)[0]
    if exact := [run for run in runs if run.folder.name == wanted]:
        return exact[0]
    found = _matching(runs, wanted)
    if not found:
        near = difflib.get_close_matches(wanted, [text for run in runs for text in (run.name, run.id)], n=1)
        hint = f"did you mean {near[0]}?" if near else "`ntrack runs ls` lists them"
        raise Failure(f"no run {wanted!r} in {base_dir}", hint=hint)
    ids = list(dict.fromkeys(run.id for run in found))
    if len(ids) > 1 and wanted != found[0].name:
        listed = ", ".join(f"{run.id} ({ago(run.start_ns)})" for run in found[:4])
        raise Failure(f"{wanted!r} is the beginning of {len(ids)} runs: {listed}", hint="give more of the id")
    alike = sorted(str(run.folder) for run in runs if run.id == ids[0])
    if len(alike) > 1:
        raise Failure(
            f"{len(alike)} folders bear the id {ids[0]}: {', '.join(alike)}",
            hint="name one by its path; a copy is best moved to a folder of its own",
        )
    return found[0]


def some_runs(base_dir: Path, wanted: Sequence[str], damaged: Damaged = "raise") -> list[Run]:
    """Return the runs named, each once, or all where none is."""
    if not wanted:
        return list_runs(base_dir, damaged)
    chosen = [one_run(base_dir, name, damaged) for name in wanted]
    return list({run.folder: run for run in chosen}.values())


def no_runs(base_dir: Path) -> Failure:
    """Return what to say where there is nothing."""
    hint = "give another folder with --base-dir or NTRACK_DIR, or log something first"
    return Failure(f"no runs in {base_dir}", hint=hint)


def _matching(runs: Sequence[Run], wanted: str) -> list[Run]:
    """Return the runs a word may mean, by the first rule that finds any."""
    low = wanted.lower()
    return (
        [run for run in runs if run.id == low]
        or [run for run in runs if wanted == run.name]
        or [run for run in runs if len(low) >= 2 and run.id.startswith(low)]
    )

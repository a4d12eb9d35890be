"""Finds the run that a user names on the command line."""

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
    """Return the run with this id, prefix of an id, name, folder name or path; None means the newest run.

    If several runs have the name, it is the newest of them. A prefix of an id must be unique. A path may lead
    to any folder, so it finds a run that was moved. A run and its copy have the same id: only the name or the
    path of the folder distinguishes them. ``damaged`` is as for ``Run``. Blocks on the disk.

    Raises:
        Failure: no run or several runs are meant; the message has the candidates.
    """
    if wanted is not None and (os.sep in wanted or wanted in (".", "..")):
        if not is_run_folder(Path(wanted)):
            raise Failure(f"{wanted} is not a run folder", hint="a run folder has a run.json")
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
        hint = f"did you mean {near[0]}?" if near else "run `ntrack runs ls` for a list of runs"
        raise Failure(f"no run {wanted!r} in {base_dir}", hint=hint)
    ids = list(dict.fromkeys(run.id for run in found))
    if len(ids) > 1 and wanted != found[0].name:
        listed = ", ".join(f"{run.id} ({ago(run.start_ns)})" for run in found[:4])
        raise Failure(f"{wanted!r} matches the ids of {len(ids)} runs: {listed}", hint="give more of the id")
    alike = sorted(str(run.folder) for run in runs if run.id == ids[0])
    if len(alike) > 1:
        raise Failure(
            f"{len(alike)} folders have the id {ids[0]}: {', '.join(alike)}",
            hint="give the path of one of them; better, move the copy out of this folder",
        )
    return found[0]


def some_runs(base_dir: Path, wanted: Sequence[str], damaged: Damaged = "raise") -> list[Run]:
    """Return the named runs, each once, or all runs if ``wanted`` is empty. Raises as :func:`one_run`."""
    if not wanted:
        return list_runs(base_dir, damaged)
    chosen = [one_run(base_dir, name, damaged) for name in wanted]
    return list({run.folder: run for run in chosen}.values())


def no_runs(base_dir: Path) -> Failure:
    """Return the failure for a folder without runs."""
    hint = "set --base-dir or NTRACK_DIR to another folder, or log a run first"
    return Failure(f"no runs in {base_dir}", hint=hint)


def _matching(runs: Sequence[Run], wanted: str) -> list[Run]:
    """Return the runs that match by id, else by name, else by the prefix of an id."""
    low = wanted.lower()
    return (
        [run for run in runs if run.id == low]
        or [run for run in runs if wanted == run.name]
        or [run for run in runs if len(low) >= 2 and run.id.startswith(low)]
    )

"""The runs of a folder: which folders are runs, which of them bears an id, which are copies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from neural.tracking.errors import AmbiguousRunError
from neural.tracking.files import is_there
from neural.tracking.opening import RUN_FILE
from neural.tracking.reader import facts
from neural.tracking.reader.run import Damaged, Run

HIDDEN = "."
_RUN_NAME = re.compile(r".+_(?:[0-9a-f]{8}|[0-9a-f]{32})")


def list_runs(base_dir: Path | str, damaged: Damaged = "raise") -> list[Run]:
    """Return the runs in ``base_dir``, newest first; ``damaged`` as for :class:`Run`.

    Raises:
        OSError: one cannot be looked into.
    """
    root = Path(base_dir)
    if not root.is_dir():
        return []
    found = []
    with os.scandir(root) as entries:
        for entry in entries:
            if not entry.name.startswith(HIDDEN) and entry.is_dir() and _may_be_run(Path(entry.path)):
                found.append(Run(entry.path, damaged))
    return sorted(found, key=lambda run: (run.start_ns, run.folder.name), reverse=True)


def _may_be_run(folder: Path) -> bool:
    """Return whether it is a run's; what is another user's and not even called as one is none: ``lost+found``.

    Raises:
        PermissionError: it is called as a run is, and cannot be looked into.
    """
    try:
        return is_run_folder(folder)
    except PermissionError:
        if _RUN_NAME.fullmatch(folder.name):
            raise
        return False


def is_run_folder(folder: Path) -> bool:
    """Return whether the folder is a run's: has a ``run.json`` or events lines."""
    return is_there(folder / RUN_FILE) or bool(facts.event_files(folder))


def find_run(base_dir: Path | str, experiment_id: str, damaged: Damaged = "raise") -> Run | None:
    """Return the run whose id this is, None where there is none; ``damaged`` as for :class:`Run`.

    Raises:
        AmbiguousRunError: several folders bear it: one is a copy, or two runs happen to share it.
    """
    return the_one(experiment_id, [run for run in list_runs(base_dir, damaged) if run.id == experiment_id])


def the_one(experiment_id: str, found: list[Run]) -> Run | None:
    """Return the only run of those found for an id, None of none; raises as :func:`find_run`."""
    if len(found) > 1:
        raise AmbiguousRunError(experiment_id, sorted(run.folder for run in found))
    return found[0] if found else None


def without_copies(runs: Iterable[Run]) -> list[Run]:
    """Return each run once, in the same order: of several folders its home, else the first of them."""
    chosen: dict[bytes | str, Run] = {}
    for run in runs:
        key = run.uid or run.folder.name
        if key not in chosen or (run.is_home and not chosen[key].is_home):
            chosen[key] = run
    return list(chosen.values())

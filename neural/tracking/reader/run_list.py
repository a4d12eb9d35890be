"""The runs of a folder: which folders are runs, which of them bears an id, which are copies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from neural.tracking.core.files import inside, is_there
from neural.tracking.errors import AmbiguousRunError, InvalidNameError
from neural.tracking.formats.run_file import RUN_FILE
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


def bearers(base_dir: Path, uid: bytes) -> list[Run]:
    """Return the folders in ``base_dir`` that hold this run: its own, and copies that were put beside it."""
    return [run for run in list_runs(base_dir, "skip") if run.uid == uid and not run.folder.is_symlink()]


def named_folder(base_dir: Path, uid: bytes, name: object = None) -> Run | None:
    """Return the folder of this name, which must hold the run; without a name the only one that does.

    Returns:
        None where no name was given and no folder holds the run.

    Raises:
        AmbiguousRunError: no name was given, and several folders hold it.
        ValueError: it is no folder's name, or that of a link.
        FileNotFoundError: there is none of this name, or it holds another run.
    """
    if name is None:
        found = bearers(base_dir, uid)
        if len(found) > 1:
            raise AmbiguousRunError(uid.hex()[:8], sorted(run.folder for run in found))
        return found[0] if found else None
    if not isinstance(name, str) or "/" in name or name.startswith("."):
        raise InvalidNameError("folder", str(name), "is not the name of a run's folder")
    if (base_dir / name).is_symlink():
        raise InvalidNameError("folder", name, "is a link: name the folder it leads to, with its --base-dir")
    run = Run(inside(base_dir, name), "skip")
    if not run.folder.is_dir() or run.uid != uid:
        raise FileNotFoundError(2, f"no folder of run {uid.hex()[:8]}", str(base_dir / name))
    return run


def is_copy(base_dir: Path, run: Run) -> bool:
    """Return whether the run stays when this folder goes, since another one beside it holds it, too.

    The run's own folder is never a copy: what is still on its way is meant for it.
    """
    return not run.is_home and any(other.folder.name != run.folder.name for other in bearers(base_dir, run.uid))

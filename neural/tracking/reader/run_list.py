"""The runs of a folder: which folders are runs, which of them has an id, which are copies."""

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
    """Return the runs in ``base_dir``, newest first; ``damaged`` as for :class:`Run`. Blocks on the disk.

    Raises:
        OSError: a folder that has a run's name cannot be read.
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
    """Return whether a folder is a run; an unreadable one without a run's name is not, such as ``lost+found``.

    Raises:
        PermissionError: it has a run's name and cannot be read.
    """
    try:
        return is_run_folder(folder)
    except PermissionError:
        if _RUN_NAME.fullmatch(folder.name):
            raise
        return False


def is_run_folder(folder: Path) -> bool:
    """Return whether the folder is a run: it has a ``run.json`` or events files. Raises OSError."""
    return is_there(folder / RUN_FILE) or bool(facts.event_files(folder))


def find_run(base_dir: Path | str, experiment_id: str, damaged: Damaged = "raise") -> Run | None:
    """Return the run with this id, None if there is none; ``damaged`` as for :class:`Run`. Blocks on the disk.

    Raises:
        AmbiguousRunError: several folders have the id: copies, or different runs with the same id by chance.
    """
    return only_run(experiment_id, [run for run in list_runs(base_dir, damaged) if run.id == experiment_id])


def only_run(experiment_id: str, found: list[Run]) -> Run | None:
    """Return the only run in ``found``, None if it is empty; raises like :func:`find_run`."""
    if len(found) > 1:
        raise AmbiguousRunError(experiment_id, sorted(run.folder for run in found))
    return found[0] if found else None


def without_copies(runs: Iterable[Run]) -> list[Run]:
    """Return each run once, in the same order: its home folder, else the first of its folders."""
    chosen: dict[bytes | str, Run] = {}
    for run in runs:
        key = run.uid or run.folder.name
        if key not in chosen or (run.is_home and not chosen[key].is_home):
            chosen[key] = run
    return list(chosen.values())


def folders_of(base_dir: Path, uid: bytes) -> list[Run]:
    """Return the folders in ``base_dir`` that hold this run: its own folder and copies; no links. Blocks."""
    return [run for run in list_runs(base_dir, "skip") if run.uid == uid and not run.folder.is_symlink()]


def named_folder(base_dir: Path, uid: bytes, name: object = None) -> Run | None:
    """Return the folder of this name, which must hold the run; without a name the only folder with the run.

    Returns:
        The folder; None if no name is given and no folder holds the run.

    Raises:
        AmbiguousRunError: no name is given, and several folders hold the run.
        ValueError: it is not a folder's name, or the name of a link.
        FileNotFoundError: there is no folder of this name, or it holds another run.
    """
    if name is None:
        found = folders_of(base_dir, uid)
        if len(found) > 1:
            raise AmbiguousRunError(uid.hex()[:8], sorted(run.folder for run in found))
        return found[0] if found else None
    if not isinstance(name, str) or "/" in name or name.startswith("."):
        raise InvalidNameError("folder", str(name), "is not the name of a run's folder")
    if (base_dir / name).is_symlink():
        raise InvalidNameError("folder", name, "is a link: give its target and the target's --base-dir")
    run = Run(inside(base_dir, name), "skip")
    if not run.folder.is_dir() or run.uid != uid:
        raise FileNotFoundError(2, f"no folder of run {uid.hex()[:8]}", str(base_dir / name))
    return run


def is_copy(base_dir: Path, run: Run) -> bool:
    """Return whether another folder in ``base_dir`` holds the run, too, so that this one may be removed.

    The run's home folder is never a copy: events that are not stored yet will be written to it.
    """
    if run.is_home:
        return False
    return any(other.folder.name != run.folder.name for other in folders_of(base_dir, run.uid))

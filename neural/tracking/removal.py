"""Which folders hold a run, and taking one of them away: the one that was named, and no other."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from neural.tracking.errors import AmbiguousRunError, InvalidNameError
from neural.tracking.files import inside
from neural.tracking.reader.facts import read_lines
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.wire import VIA


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


def sessions_from_afar(run: Run) -> list[str]:
    """Return the sessions in a run's folder that came over TCP; of what cannot be read, none."""
    found = set()
    with contextlib.suppress(OSError):  # a folder may be damaged, and is to go all the same
        for line in read_lines(run.folder, []):
            if isinstance(line.get("info"), dict) and VIA in line["info"]:
                found.add(line["session"])
    return sorted(found)


def take_away(folder: Path) -> None:
    """Remove a run folder, under another name first: what is half removed must not be found as a run.

    Raises:
        OSError: it is as it was, or something of it is left under a hidden name.
    """
    going = folder.with_name(f".tmp-deleted-{folder.name[-100:]}-{os.urandom(4).hex()}")
    os.rename(folder, going)
    shutil.rmtree(going)

"""The folder name of a run that the log describes, and the file that says which run a folder belongs to."""

from __future__ import annotations

import time
from pathlib import Path

from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.core.names import check_run_name
from neural.tracking.errors import FormatError, InvalidNameError
from neural.tracking.formats import ledgers
from neural.tracking.formats.run_file import RunFile, folder_name, is_torn, write_described


def folder_names(session: LoggedSession) -> list[str]:
    """Return the names that the run's folder may have, the one that its session asks for first."""
    requested, name = session.info.get("dir"), session.info.get("name")
    names = [requested] if isinstance(requested, str) else []
    try:
        names.append(folder_name(check_run_name(name), session.uid))  # type: ignore[arg-type]
    except (TypeError, InvalidNameError):
        names.append(folder_name("run", session.uid))
    names.append(f"run_{session.uid.hex()}")
    return [name for name in names if not set(name) & {"/", "\0"} and not name.startswith(".")]


def owner(folder: Path) -> bytes | None:
    """Return the uid of the run that a folder belongs to; None if it holds nothing of a run.

    If ``run.json`` is damaged or missing, the store's own files in the folder still tell. One that a power
    loss tore counts as nothing. Blocks on the disk.

    Raises:
        FormatError: ``run.json`` is damaged, and no other file tells.
        OSError: the folder cannot be read now.
    """
    try:
        run_file = RunFile.load(folder)
    except FormatError:
        uid = ledgers.owner(folder)
        if uid is None and not is_torn(folder):
            raise
        return uid
    return ledgers.owner(folder) if run_file is None else run_file.uid


def has_run_file(folder: Path) -> bool:
    """Return whether the folder's ``run.json`` is there and valid. Blocks on the disk."""
    return RunFile.read(folder) is not None


def write_run_file(folder: Path, session: LoggedSession) -> None:
    """Write ``run.json`` from the session's description, durably. Blocks on the disk; raises OSError."""
    info = session.info
    opened_ns = info["opened_ns"] if isinstance(info.get("opened_ns"), int) else time.time_ns()
    write_described(folder, session.uid, info, opened_ns)


def folder_id(folder: Path) -> tuple[int, int] | None:
    """Return what a folder keeps when it is renamed, and no other has; None if it is absent."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino

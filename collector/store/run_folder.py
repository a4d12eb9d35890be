"""Which folder a run gets that the log names, and the file that says whose it is."""

from __future__ import annotations

import time
from pathlib import Path

from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.core.names import check_run_name
from neural.tracking.errors import FormatError, InvalidNameError
from neural.tracking.formats import ledgers
from neural.tracking.formats.run_file import RunFile, folder_name, write_described


def folder_names(session: LoggedSession) -> list[str]:
    """Return the names the run's folder may have, the one its session asks for first."""
    told, name = session.info.get("dir"), session.info.get("name")
    names = [told] if isinstance(told, str) else []
    try:
        names.append(folder_name(check_run_name(name), session.uid))  # type: ignore[arg-type]
    except (TypeError, InvalidNameError):
        names.append(folder_name("run", session.uid))
    names.append(f"run_{session.uid.hex()}")
    return [name for name in names if not set(name) & {"/", "\0"} and not name.startswith(".")]


def owner(folder: Path) -> bytes | None:
    """Return whose run a folder holds; None where it holds nothing of any.

    A ``run.json`` that is damaged or gone says nothing of it; what the store itself keeps there still does.

    Raises:
        FormatError: ``run.json`` is damaged, and nothing else tells.
        OSError: it cannot be read just now.
    """
    try:
        found = RunFile.load(folder)
    except FormatError:
        uid = ledgers.owner(folder)
        if uid is None:
            raise
        return uid
    return ledgers.owner(folder) if found is None else found.uid


def has_run_file(folder: Path) -> bool:
    """Return whether the folder's ``run.json`` is there and whole."""
    return RunFile.read(folder) is not None


def write_run_file(folder: Path, session: LoggedSession) -> None:
    """Write ``run.json`` as the session describes its run; durable when this returns. Raises OSError."""
    info = session.info
    opened_ns = info["opened_ns"] if isinstance(info.get("opened_ns"), int) else time.time_ns()
    write_described(folder, session.uid, info, opened_ns)

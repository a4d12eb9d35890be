"""Which folder a run gets that the log names, and the file that says whose it is."""

from __future__ import annotations

import time
from pathlib import Path

from neural.tracking.errors import InvalidNameError
from neural.tracking.names import check_run_name
from neural.tracking.opening import RunFile, folder_name
from neural.tracking.sinks.base import SessionInfo


def folder_names(session: SessionInfo) -> list[str]:
    """Return the names the run's folder may have, the one its session asks for first."""
    told, name = session.info.get("dir"), session.info.get("name")
    names = [told] if isinstance(told, str) else []
    try:
        names.append(folder_name(check_run_name(name), session.uid))  # type: ignore[arg-type]
    except (TypeError, InvalidNameError):
        names.append(folder_name("run", session.uid))
    names.append(f"run_{session.uid.hex()}")
    return [name for name in names if not set(name) & {"/", "\0"} and not name.startswith(".")]


def write_run_file(folder: Path, session: SessionInfo) -> None:
    """Write ``run.json`` as the session describes its run; durable when this returns. Raises OSError."""
    info = session.info
    opened_ns = info["opened_ns"] if isinstance(info.get("opened_ns"), int) else time.time_ns()
    run = RunFile(session.uid, str(info.get("name", "run")), opened_ns, str(info.get("key", "")))
    pid = info["pid"] if isinstance(info.get("pid"), int) else 0
    run.write(folder, host=str(info.get("host", "")), pid=pid, durable=True)

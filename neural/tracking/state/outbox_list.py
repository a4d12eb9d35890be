"""The outboxes in a state folder: their sessions, their sizes, and whether a process still writes to them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neural.tracking.core import os_support
from neural.tracking.core.files import TEMPORARY_PREFIX
from neural.tracking.errors import FormatError
from neural.tracking.state.outbox_files import (
    ADOPTED_SUFFIX,
    CONTROL_NAME,
    LOCK_NAME,
    NUMBER_AT,
    RELEASED_AT,
    claim,
    is_owned,
    read_info,
    read_number,
)
from neural.tracking.state.paths import State

STARTS_WITHIN_S = 20.0


@dataclass(frozen=True, kw_only=True)
class OutboxSummary:
    """The outbox of one session.

    ``live``: its process may still write to it. ``released``: its process still runs, but has finished with
    this outbox. ``readable``: ``session.json`` is intact.
    """

    folder: Path
    session: str
    run: str
    pid: int | None
    live: bool
    released: bool
    emitted: int
    size_bytes: int
    readable: bool = True
    collector: str | None = None  # the address of its collector if that is on another host


def list_outboxes(state: State) -> list[OutboxSummary]:
    """Return the outboxes of this state folder, without those that are removed meanwhile. Blocks briefly."""
    return _list(state.outbox, _is_live)


def list_remote_outboxes(state: State) -> list[OutboxSummary]:
    """Return the outboxes whose events go to a collector on another host. Blocks briefly on the disk.

    Does not touch locks: a courier, perhaps in this process, may hold the lock of an orphan.
    """
    return _list(state.remote_outbox, lambda folder, pid: is_owned(folder))


def _list(place: Path, is_live: Callable[[Path, int | None], bool]) -> list[OutboxSummary]:
    try:
        folders = sorted(entry for entry in place.iterdir() if entry.is_dir())
    except OSError:
        return []
    found = [_summary(folder, is_live) for folder in folders if not folder.name.startswith(TEMPORARY_PREFIX)]
    return [outbox for outbox in found if outbox is not None]


def has_orphans(state: State) -> bool:
    """Return whether there is an outbox whose process is gone. Blocks briefly on the disk.

    An outbox that is being adopted counts: its collector may have died meanwhile. Locks that this process
    holds are not touched.
    """
    return any(not outbox.live for outbox in list_outboxes(state))


def collector_starts(state: State) -> bool:
    """Return whether a collector took the state folder in the last 20 s and is not reachable yet."""
    try:
        holder = json.loads(state.lock.read_bytes()[:4096])
        started_ns = holder["started_ns"]
        if _reachable_pid(state) == holder["pid"]:
            return False  # it has been reachable: it is no longer starting
        return 0 <= time.time_ns() - int(started_ns) < STARTS_WITHIN_S * 1e9
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _reachable_pid(state: State) -> object:
    """Return the process id in the endpoint file; None if there is none."""
    try:
        return json.loads(state.endpoint_file.read_bytes()[:4096])["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _summary(folder: Path, is_live: Callable[[Path, int | None], bool]) -> OutboxSummary | None:
    session = folder.name.removesuffix(ADOPTED_SUFFIX)
    run, pid, readable, collector = "?", None, True, None
    info: Mapping[str, Any] = {}
    try:
        info = read_info(folder).info
        run = str(info.get("dir") or info.get("name") or "?")
        pid = info.get("pid") if isinstance(info.get("pid"), int) else None
        collector = info.get("collector")
    except (FormatError, FileNotFoundError):
        readable = False
    except OSError:
        return None
    try:
        # Fails if it was removed since it was listed. A power loss may have removed single files.
        names = os.listdir(folder)
        control = (folder / CONTROL_NAME).read_bytes() if CONTROL_NAME in names else b""
        size = sum(entry.stat().st_size for entry in folder.iterdir())
        live = is_live(folder, pid)
    except (OSError, FormatError):
        return None
    return OutboxSummary(
        folder=folder,
        session=session,
        run=run,
        pid=pid,
        live=live,
        released=not live and read_number(control, RELEASED_AT) == 1 and _runs(info),
        emitted=read_number(control, NUMBER_AT) or 0,
        size_bytes=size,
        readable=readable,
        collector=collector,
    )


def _runs(info: Mapping[str, Any]) -> bool:
    pid, started = info.get("pid"), info.get("start_time")
    if not isinstance(pid, int) or not isinstance(started, int) or info.get("boot_id") != os_support.boot_id():
        return False
    return os_support.process_lives(pid, started)


def _is_live(folder: Path, pid: int | None) -> bool:
    if pid == os.getpid():
        return True  # opening and closing its lock file would release the lock
    if not (folder / LOCK_NAME).exists():
        return False
    fd = claim(folder)
    if fd is None:
        return True
    os.close(fd)
    return False

"""Removes from the spool what belongs to no event: the rest of a process that died in the middle of a call."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from neural.tracking.artifacts import spool
from neural.tracking.collector.sessions import Position, Sessions
from neural.tracking.outboxes.files import ADOPTED_SUFFIX
from neural.tracking.state import State


def over(state: State, sessions: Sessions, applied: Position) -> list[Path]:
    """Return the spool folders of sessions from which no further event will come.

    They ended, their outbox is gone, and the store has applied all of it: whatever an event names has a
    job by now.
    """
    found = []
    for folder in list(state.spool.iterdir()) if state.spool.is_dir() else ():
        if not spool.is_session(folder.name):
            continue
        outbox = state.outbox / folder.name
        session = sessions.get(bytes.fromhex(folder.name))
        open_yet = session is not None and (session.ended is None or session.end > applied)
        if not open_yet and not outbox.exists() and not outbox.with_name(folder.name + ADOPTED_SUFFIX).exists():
            found.append(folder)
    return found


def tidy(folders: Collection[Path], tokens: Collection[str]) -> None:
    """Remove what is in these folders and no job waits for; and the folders, once they are empty."""
    for folder in folders:
        for entry in list(folder.iterdir()):
            if entry.name.removeprefix(spool.TEMPORARY_PREFIX) not in tokens:
                with contextlib.suppress(OSError):
                    spool.remove(entry)
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_temporaries(state: State) -> None:
    """Remove the copies that this collector's life before left beside the blobs."""
    for path in state.blobs.glob(f".tmp-{state.collector_id()}-*"):
        with contextlib.suppress(OSError):
            spool.remove(path)

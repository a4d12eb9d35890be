"""Removes from the spool what belongs to no event: the rest of a process that died in the middle of a call."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from neural.tracking.collector.log.sessions import Position, Sessions
from neural.tracking.core.files import TEMPORARY_PREFIX, is_there, matching
from neural.tracking.core.names import is_hex_id
from neural.tracking.state import spool
from neural.tracking.state.outbox_files import ADOPTED_SUFFIX
from neural.tracking.state.paths import State


def over(state: State, sessions: Sessions, applied: Position) -> list[Path]:
    """Return the spool folders of sessions from which no further event will come.

    They ended, their outbox is gone, and the store has applied all of it: whatever an event names has a
    job by now.

    Raises:
        OSError: nobody can tell.
    """
    found = []
    for folder in list(state.spool.iterdir()) if is_there(state.spool) else ():
        if not is_hex_id(folder.name):
            continue
        outbox = state.outbox / folder.name
        unsent = is_there(outbox) or is_there(outbox.with_name(folder.name + ADOPTED_SUFFIX))
        if not unsent and is_settled(state, sessions, folder.name, applied):
            found.append(folder)
    return found


def is_settled(state: State, sessions: Sessions, session: str, applied: Position) -> bool:
    """Return whether every artifact event of a session is known to the store and has, or had, its job.

    Of a run in quarantine none has: its events were passed, and wait there until its folder can be used.

    Args:
        applied: how far the store was before this was called.

    Raises:
        OSError: nobody can tell.
    """
    known = sessions.get(bytes.fromhex(session))
    if known is not None and known.deleted:
        return True  # nothing of it is stored any more
    if known is not None and (known.ended is None or known.end > applied):
        return False
    if known is None:  # whose it was is not known any more: it may be any run's
        return not matching(state.quarantine, "?" * 32)
    return not is_there(state.quarantine / known.uid.hex())


def tidy(folders: Collection[Path], tokens: Collection[str]) -> None:
    """Remove what is in these folders and no job waits for; and the folders, once they are empty."""
    for folder in folders:
        for entry in list(folder.iterdir()):
            if entry.name.removeprefix(TEMPORARY_PREFIX) not in tokens:
                with contextlib.suppress(OSError):
                    spool.remove(entry)
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_temporaries(state: State) -> None:
    """Remove the copies that this collector's life before left beside the blobs."""
    for path in state.blobs.glob(f".tmp-{state.collector_id()}-*"):
        with contextlib.suppress(OSError):
            spool.remove(path)

"""Removes from the spool what belongs to no event: files of a process that died in the middle of a call.

The functions block on the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from neural.tracking.collector.log.sessions import Position, Sessions
from neural.tracking.core.files import TEMPORARY_PREFIX, is_there, matching
from neural.tracking.core.names import is_hex_id
from neural.tracking.state import artifact_jobs, spool
from neural.tracking.state.outbox_files import ADOPTED_SUFFIX
from neural.tracking.state.paths import State


def finished_folders(state: State, sessions: Sessions, applied: Position) -> list[Path]:
    """Return the spool folders of sessions from which no event will come any more.

    The sessions ended, their outboxes are gone, and the store has applied all of them: so whatever an event
    names has its job by now.

    Raises:
        OSError: the folders cannot be read.
    """
    finished = []
    for folder in list(state.spool.iterdir()) if is_there(state.spool) else ():
        if not is_hex_id(folder.name):
            continue
        outbox = state.outbox / folder.name
        unsent = is_there(outbox) or is_there(outbox.with_name(folder.name + ADOPTED_SUFFIX))
        if not unsent and is_settled(state, sessions, folder.name, applied):
            finished.append(folder)
    return finished


def is_settled(state: State, sessions: Sessions, session: str, applied: Position) -> bool:
    """Return whether every artifact event of a session was applied by the store, and has or had its job.

    Events of a run in quarantine have no job: they wait there until the run's folder can be used.

    Args:
        applied: how far the store was before this call.

    Raises:
        OSError: the folders cannot be read.
    """
    state_of_session = sessions.get(bytes.fromhex(session))
    if state_of_session is not None and state_of_session.deleted:
        return True  # its run was removed: nothing of it is stored any more
    if state_of_session is not None and (state_of_session.ended is None or state_of_session.end > applied):
        return False
    if state_of_session is None:  # its run is unknown, so it may be any run in quarantine
        return not matching(state.quarantine, "?" * 32)
    return not is_there(state.quarantine / state_of_session.uid.hex())


def has_unread_job(state: State, session: str, known: Collection[tuple[str, int]]) -> bool:
    """Return whether a job of the session is on disk that is none of the known ones.

    The store makes jobs before it reports how far it is, and they are read some time later. Raises OSError.
    """
    return any(key[0] == session and key not in known for key in artifact_jobs.waiting(state))


def remove_unreferenced(folders: Collection[Path], tokens: Collection[str]) -> None:
    """Remove the files in these folders for which no job waits, and the folders that are empty then."""
    for folder in folders:
        for entry in list(folder.iterdir()):
            if entry.name.removeprefix(TEMPORARY_PREFIX) not in tokens:
                with contextlib.suppress(OSError):
                    spool.remove(entry)
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_temporaries(state: State) -> None:
    """Remove the copies that an earlier process of this collector left beside the blobs."""
    for path in state.blobs.glob(f".tmp-{state.collector_id()}-*"):
        with contextlib.suppress(OSError):
            spool.remove(path)

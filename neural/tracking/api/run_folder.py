"""Makes or joins the folder of a run: the one thing a tracker does on disk before its first event.

A folder is filled under a temporary name and renamed into place, so nobody ever sees a run without
its ``run.json``, and two ranks that come at the same moment end in the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from neural.tracking.core.files import read_json
from neural.tracking.core.names import check_run_name
from neural.tracking.core.os_support import NO_ROOM
from neural.tracking.errors import RunConflictError, TrackingError
from neural.tracking.formats.events import END_STATUSES
from neural.tracking.formats.run_file import RUN_FILE, RunFile, folder_name, is_torn

if TYPE_CHECKING:
    from neural.tracking.agent.run_identity import RunIdentity

SIBLINGS_WITHIN_S = 60.0
_MAX_TRIES = 100


def open_run_folder(base_dir: Path, identity: RunIdentity) -> tuple[Path, RunIdentity]:
    """Make the run's folder or join it; return it and who the run then is.

    The identity changes only where another run has the folder: a random uid is drawn anew, and a
    run that siblings find by their parent's pid steps on to the next one nobody has ended.

    Raises:
        RunConflictError: a derived uid (NTRACK_RUN_ID, SLURM …) meets the folder of another run.
        NotADirectoryError, PermissionError, OSError: ``base_dir`` cannot hold runs. A full disk is
            no reason: it warns, and the run goes on without its folder until there is room.
    """
    check_run_name(identity.name)
    try:
        base_dir.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "base_dir is not a folder", str(base_dir)) from None
    except OSError as error:
        _raise_unless_full(error, base_dir)
        return base_dir / folder_name(identity.name, identity.uid), identity
    for _ in range(_MAX_TRIES):
        folder = base_dir / folder_name(identity.name, identity.uid)
        try:
            made = _make(folder, identity)
        except OSError as error:
            _raise_unless_full(error, base_dir)
            return folder, identity
        if made:
            return folder, identity
        found = RunFile.read(folder)
        if found is not None and found.uid == identity.uid and _may_join(folder, found, identity):
            return folder, _joined(folder, identity)
        if found is None and _written_again(folder, identity):
            return folder, identity
        identity = _next_identity(folder, identity)
    raise TrackingError(f"no free folder for run {identity.name!r} in {base_dir} after {_MAX_TRIES} tries")


def _make(folder: Path, identity: RunIdentity) -> bool:
    """Put a folder with its ``run.json`` in place; return whether the name was free."""
    if folder.exists():
        return False
    temporary = folder.with_name(f".tmp-{os.urandom(6).hex()}")
    temporary.mkdir()
    try:
        _write_run_file(temporary, identity)
        os.rename(temporary, folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            (temporary / RUN_FILE).unlink(missing_ok=True)
            temporary.rmdir()
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False  # a sibling was faster
        raise
    return True


def _written_again(folder: Path, identity: RunIdentity) -> bool:
    """Write a ``run.json`` again that a power loss tore; return whether it was one."""
    with contextlib.suppress(OSError):
        if is_torn(folder):
            _write_run_file(folder, identity)
            return True
    return False


def _write_run_file(folder: Path, identity: RunIdentity) -> None:
    # Not durable: a sync would cost the constructor 5 ms; the collector sees to it.
    made = RunFile(identity.uid, identity.name, time.time_ns(), identity.key)
    made.write(folder, host=os.uname().nodename, pid=os.getpid(), durable=False)


def _may_join(folder: Path, found: RunFile, identity: RunIdentity) -> bool:
    """Siblings that share nothing but a parent must have started together, and not after the end."""
    if identity.key != "parent":
        return True
    if abs(time.time_ns() - found.opened_ns) > SIBLINGS_WITHIN_S * 1e9:
        return False
    return _status_and_attempts(folder)[0] not in END_STATUSES


def _joined(folder: Path, identity: RunIdentity) -> RunIdentity:
    """Return the identity of one that joins: of the running attempt, or the next where that has ended."""
    status, attempts = _status_and_attempts(folder)
    attempt = max(identity.attempt, attempts + (status in END_STATUSES))
    role = "join" if identity.role == "opener" else identity.role
    return identity._replace(attempt=attempt, role=role)


def _status_and_attempts(folder: Path) -> tuple[str, int]:
    """Return status and number of attempts from the run's metadata view: quick, a second old at most."""
    with contextlib.suppress(OSError, ValueError):
        metadata = read_json(folder / "metadata.json")
        if isinstance(metadata, dict) and isinstance(metadata.get("attempts"), int):
            return str(metadata.get("status")), metadata["attempts"]
    return "created", 0


def _next_identity(folder: Path, identity: RunIdentity) -> RunIdentity:
    """Return an identity for another folder than the one that is taken."""
    if identity.key == "parent":
        # Derived from the taken one, so that all siblings step on to the same next run.
        import hashlib

        uid = hashlib.sha256(identity.uid + b"next").digest()[:16]
        return identity._replace(uid=uid)
    if identity.key == "random":
        return identity._replace(uid=os.urandom(16))
    raise RunConflictError(
        f"{folder} belongs to another run than the one {identity.key} names; "
        f"choose another experiment name or base_dir, or move that folder away"
    )


def _raise_unless_full(error: OSError, base_dir: Path) -> None:
    """Raise what the user can mend before the training starts; warn where only the disk is full."""
    if error.errno not in NO_ROOM:
        reason = f"no run can be made in {base_dir} ({error.strerror}): choose another base_dir, or mend it"
        raise type(error)(error.errno, reason, error.filename) from None
    import warnings

    warnings.warn(
        f"no space left for a run in {base_dir}: the training goes on, what it logs is counted as "
        f"a gap until there is room",
        RuntimeWarning,
        stacklevel=4,
    )

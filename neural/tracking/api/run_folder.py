"""Creates or joins the folder of a run, which a tracker does before it opens its session.

A folder is filled under a temporary name and renamed into place. So nobody sees a run without its ``run.json``,
and two ranks that start at the same moment use the same folder.
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
    """Create the run's folder or join it; return the folder and the final identity. Blocks briefly on the disk.

    The identity changes if another run has the folder: a random uid is drawn again, and siblings that found the
    run by their parent's pid move to the next run that has not ended. A join sets ``role`` and ``attempt``.

    Raises:
        RunConflictError: a derived uid (NTRACK_RUN_ID, SLURM …) leads to the folder of another run.
        NotADirectoryError, PermissionError, OSError: ``base_dir`` cannot hold runs. A full disk does not
            raise: it gives a warning, and the run continues without its folder until there is room.
        TrackingError: no free folder after 100 attempts.
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
    """Create the folder with its ``run.json``; return whether the name was free."""
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
            return False  # another rank was faster
        raise
    return True


def _written_again(folder: Path, identity: RunIdentity) -> bool:
    """Write ``run.json`` again if a power loss tore it; return whether it did."""
    with contextlib.suppress(OSError):
        if is_torn(folder):
            _write_run_file(folder, identity)
            return True
    return False


def _write_run_file(folder: Path, identity: RunIdentity) -> None:
    # Not durable: a sync would cost the constructor 5 ms; the collector syncs the file.
    made = RunFile(identity.uid, identity.name, time.time_ns(), identity.key)
    made.write(folder, host=os.uname().nodename, pid=os.getpid(), durable=False)


def _may_join(folder: Path, found: RunFile, identity: RunIdentity) -> bool:
    """Return whether the process may join: siblings with only a common parent must start within a minute and
    before the run's end.
    """
    if identity.key != "parent":
        return True
    if abs(time.time_ns() - found.opened_ns) > SIBLINGS_WITHIN_S * 1e9:
        return False
    return _status_and_attempts(folder)[0] not in END_STATUSES


def _joined(folder: Path, identity: RunIdentity) -> RunIdentity:
    """Return the identity of a process that joins the running attempt, or the next one if that has ended."""
    status, attempts = _status_and_attempts(folder)
    attempt = max(identity.attempt, attempts + (status in END_STATUSES))
    role = "join" if identity.role == "opener" else identity.role
    return identity._replace(attempt=attempt, role=role)


def _status_and_attempts(folder: Path) -> tuple[str, int]:
    """Return status and number of attempts from the run's metadata view, which is a second old at most."""
    with contextlib.suppress(OSError, ValueError):
        metadata = read_json(folder / "metadata.json")
        if isinstance(metadata, dict) and isinstance(metadata.get("attempts"), int):
            return str(metadata.get("status")), metadata["attempts"]
    return "created", 0


def _next_identity(folder: Path, identity: RunIdentity) -> RunIdentity:
    """Return an identity for another folder, because ``folder`` belongs to another run."""
    if identity.key == "parent":
        # Derived from the present uid, so that all siblings move to the same next run.
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
    """Raise an error that the user can fix before the training starts; only warn if the disk is full."""
    if error.errno not in NO_ROOM:
        reason = f"no run can be made in {base_dir} ({error.strerror}): choose another base_dir, or fix it"
        raise type(error)(error.errno, reason, error.filename) from None
    import warnings

    warnings.warn(
        f"no space left for a run in {base_dir}: the training continues, and its events are counted as "
        f"a gap until there is room",
        RuntimeWarning,
        stacklevel=4,
    )

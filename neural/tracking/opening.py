"""Makes or joins the folder of a run: the one thing a tracker does on disk before its first event.

A folder is filled under a temporary name and renamed into place, so nobody ever sees a run without
its ``run.json``, and two ranks that come at the same moment end in the same folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import secrets
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.errors import ConfigError, RunConflictError, TrackingError
from neural.tracking.files import read_json, write_json
from neural.tracking.names import check_run_name

if TYPE_CHECKING:
    from neural.tracking.agent.identity import RunIdentity

RUN_FILE = "run.json"
SIBLINGS_WITHIN_S = 60.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_MAX_TRIES = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFile:
    """What ``run.json`` says: who the run is; written once, never changed."""

    uid: bytes
    name: str
    opened_ns: int
    key: str = ""

    @classmethod
    def read(cls, folder: Path) -> RunFile | None:
        """Return what the folder's ``run.json`` says, None where there is none or it says nothing usable."""
        try:
            found = read_json(folder / RUN_FILE)
            return cls(
                uid=bytes.fromhex(found["uid"]),
                name=str(found["name"]),
                opened_ns=int(found["opened_ns"]),
                key=str(found.get("key", "")),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def folder_name(self) -> str:
        return folder_name(self.name, self.uid)


def folder_name(name: str, uid: bytes) -> str:
    """Return ``<name>_<id>``: the run's folder below ``base_dir``."""
    return f"{name}_{uid.hex()[:8]}"


def resolve_base_dir(base_dir: str | os.PathLike[str] | None) -> Path:
    """Return the absolute ``base_dir``: the argument, else ``NTRACK_DIR``, else ``neural_experiments``."""
    chosen = base_dir if base_dir is not None else os.environ.get("NTRACK_DIR") or "neural_experiments"
    if not isinstance(chosen, str | os.PathLike):
        raise TypeError(f"base_dir must be a path, not {type(chosen).__name__}")
    if not os.fspath(chosen):
        raise ConfigError("base_dir is empty; leave it out for ./neural_experiments")
    return Path(os.path.abspath(os.path.expanduser(chosen)))


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
        _go_on_without_room(error, base_dir)
        return base_dir / folder_name(identity.name, identity.uid), identity
    for _ in range(_MAX_TRIES):
        folder = base_dir / folder_name(identity.name, identity.uid)
        try:
            made = _make(folder, identity)
        except OSError as error:
            _go_on_without_room(error, base_dir)
            return folder, identity
        if made:
            return folder, identity
        found = RunFile.read(folder)
        if found is not None and found.uid == identity.uid and _may_join(folder, found, identity):
            return folder, identity
        identity = _another(folder, identity)
    raise TrackingError(f"no free folder for run {identity.name!r} in {base_dir} after {_MAX_TRIES} tries")


def _make(folder: Path, identity: RunIdentity) -> bool:
    """Put a folder with its ``run.json`` in place; return whether the name was free."""
    if folder.exists():
        return False
    content: dict[str, Any] = {
        "format": 1,
        "uid": identity.uid.hex(),
        "name": identity.name,
        "opened_ns": time.time_ns(),
        "key": identity.key,
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }
    temporary = folder.with_name(f".tmp-{secrets.token_hex(6)}")
    temporary.mkdir()
    try:
        # Not durable: the collector stores the same facts, and a sync would cost the constructor 5 ms.
        write_json(temporary / RUN_FILE, content, durable=False)
        os.rename(temporary, folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            (temporary / RUN_FILE).unlink(missing_ok=True)
            temporary.rmdir()
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False  # a sibling was faster
        raise
    return True


def _may_join(folder: Path, found: RunFile, identity: RunIdentity) -> bool:
    """Siblings that share nothing but a parent must have started together, and not after the end."""
    if identity.key != "parent":
        return True
    if abs(time.time_ns() - found.opened_ns) > SIBLINGS_WITHIN_S * 1e9:
        return False
    with contextlib.suppress(OSError, ValueError):
        metadata = read_json(folder / "metadata.json")
        return not (isinstance(metadata, dict) and metadata.get("status") in ("completed", "failed"))
    return True


def _another(folder: Path, identity: RunIdentity) -> RunIdentity:
    """Return an identity for another folder than the one that is taken."""
    if identity.key == "parent":
        # Derived from the taken one, so that all siblings step on to the same next run.
        uid = hashlib.sha256(identity.uid + b"next").digest()[:16]
        return dataclasses.replace(identity, uid=uid)
    if identity.key == "random":
        return dataclasses.replace(identity, uid=secrets.token_bytes(16))
    raise RunConflictError(
        f"{folder} belongs to another run than the one {identity.key} names; "
        f"choose another experiment name or base_dir, or move that folder away"
    )


def _go_on_without_room(error: OSError, base_dir: Path) -> None:
    """Raise what the user can mend before the training starts; warn where only the disk is full."""
    if error.errno not in _NO_ROOM:
        raise error
    warnings.warn(
        f"no space left for a run in {base_dir}: the training goes on, what it logs is counted as "
        f"a gap until there is room",
        RuntimeWarning,
        stacklevel=4,
    )

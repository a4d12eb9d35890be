"""Determines the run that this process writes to, and its rank, from the launcher's environment.

Processes of one job must agree on the run without communication, so its uid is derived from the values that
the launcher gave to all of them. A rank counts only together with the key that chose the run: a leftover
``RANK`` in a shell profile must not make a single process rank 3.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from neural.tracking.core import os_support
from neural.tracking.core.warn import warn

UID_BYTES = 16
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")


class RunIdentity(NamedTuple):
    """The run, rank and attempt of one process; ``key`` names the rule that chose the run.

    ``key`` is one of ``"NTRACK_RUN_ID"``, ``"TORCHELASTIC_RUN_ID"``, ``"SLURM"``, ``"PMIX"``,
    ``"parent"``, ``"random"``. ``role`` is ``"opener"`` for rank 0, ``"rank"`` for the others, ``"join"`` for
    a process that joins an existing run, and ``"child"`` for a child process. ``after`` names the newest
    removal of the run when it was opened: empty if there was none, None if this is not yet known. Children
    and processes that unpickle a tracker keep ``after``.
    """

    uid: bytes
    name: str
    rank: int
    world_size: int
    attempt: int
    role: str
    key: str
    after: str | None = None

    @property
    def experiment_id(self) -> str:
        """The first 8 hex digits of the uid."""
        return self.uid.hex()[:8]


class _LauncherJob(NamedTuple):
    key: str
    value: str
    ranks: tuple[str, ...] = ()  # variables with the rank; the first valid one counts
    sizes: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()


_ALL_RANKS = ("RANK", "SLURM_PROCID", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
_ALL_SIZES = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")

_ordinals: Counter[tuple[str, str, str]] = Counter()
_ordinals_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: _renew_lock())


def choose_run(name: str, environ: Mapping[str, str] = os.environ) -> RunIdentity:
    """Return the run that the next tracker of this name in this process writes to. Never blocks on the disk.

    Args:
        name: the experiment's name, already checked.
        environ: the variables that the launcher set.

    Each call counts: the n-th tracker of a name joins the n-th run of that name on the other ranks.
    """
    job = _find_job(environ)
    world_size = _number(environ, job.sizes, default=1)
    rank = _number(environ, job.ranks, default=0)
    attempt = _number(environ, job.restarts, default=0) + 1
    if job.key == "random":
        uid = os.urandom(UID_BYTES)
    else:
        with _ordinals_lock:
            ordinal = _ordinals[job.key, job.value, name]
            _ordinals[job.key, job.value, name] += 1
        uid = derive_uid(job.key, job.value, name, ordinal)
    return RunIdentity(
        uid=uid,
        name=name,
        rank=rank,
        world_size=max(world_size, 1),
        attempt=attempt,
        role="opener" if rank == 0 else "rank",
        key=job.key,
    )


def derive_uid(key: str, value: str, name: str, ordinal: int) -> bytes:
    """Return the run uid, 16 bytes; every process of a job derives the same one from the same arguments."""
    import hashlib  # costs milliseconds that a run with a random uid does not need

    text = "\0".join((key, value, name, str(ordinal)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:UID_BYTES]


def _renew_lock() -> None:
    """Replace the lock in a forked child, where the thread that may hold it does not exist."""
    global _ordinals_lock
    _ordinals_lock = threading.Lock()


def _find_job(environ: Mapping[str, str]) -> _LauncherJob:
    """Return the job by the first rule that applies."""
    if value := environ.get("NTRACK_RUN_ID"):
        return _LauncherJob("NTRACK_RUN_ID", value, _ALL_RANKS, _ALL_SIZES, _RESTARTS)
    value = environ.get("TORCHELASTIC_RUN_ID", "")
    if value and value != "none":  # torchrun's default, the same for every job
        return _LauncherJob("TORCHELASTIC_RUN_ID", value, ("RANK",), ("WORLD_SIZE",), _RESTARTS[:1])
    if (step := environ.get("SLURM_STEP_ID")) and _number(environ, _ALL_SIZES[1:3], default=1) > 1:
        value = f"{environ.get('SLURM_JOB_ID', '')}.{step}"
        return _LauncherJob("SLURM", value, ("SLURM_PROCID",), _ALL_SIZES[1:3], _RESTARTS[1:])
    if value := environ.get("PMIX_NAMESPACE"):
        return _LauncherJob("PMIX", value, _ALL_RANKS[2:], _ALL_SIZES[3:])
    world_size = _number(environ, ("WORLD_SIZE",), default=1)
    if world_size > 1 and _on_one_node(environ, world_size):
        return _LauncherJob("parent", _parent(), ("RANK",), ("WORLD_SIZE",), _RESTARTS[:1])
    if world_size > 1:
        warn(
            "WORLD_SIZE is %d but nothing names the job on all nodes; every process opens a run of its own: "
            "set NTRACK_RUN_ID to the same value everywhere",
            world_size,
        )
    return _LauncherJob("random", "")


def _on_one_node(environ: Mapping[str, str], world_size: int) -> bool:
    if "LOCAL_WORLD_SIZE" in environ:
        return _number(environ, ("LOCAL_WORLD_SIZE",), default=0) == world_size
    return environ.get("MASTER_ADDR", "") in _LOOPBACK


def _parent() -> str:
    """Return a permanent identifier of the parent process; its pid alone may be used again."""
    parent = os.getppid()
    return f"{os_support.boot_id()}.{parent}.{os_support.process_start_ticks(parent)}"


def _number(environ: Mapping[str, str], names: tuple[str, ...], *, default: int) -> int:
    """Return the first of these variables that holds a non-negative number of at most 9 digits."""
    for name in names:
        text = environ.get(name, "").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
    return default

"""The runs of a ``base_dir`` for a manager: list them, find one, remove one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.api.recorder import Opening
from neural.tracking.artifacts.sweep import sweep
from neural.tracking.core import os_support
from neural.tracking.core.config import agent_config
from neural.tracking.core.files import read_json, remove_run_folder
from neural.tracking.core.times import iso_time
from neural.tracking.errors import CollectorUnreachableError, ConfigError, DataDamagedError
from neural.tracking.reader import run_list
from neural.tracking.reader.facts import remote_sessions
from neural.tracking.reader.run import Damaged, Run
from neural.tracking.reader.run_list import find_run, list_runs
from neural.tracking.state.control_client import request
from neural.tracking.state.outbox_list import has_orphans, list_remote_outboxes
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import any_quarantined
from neural.tracking.state.tombstones import Tombstones
from neural.tracking.state.unapplied_log import log_waits

if TYPE_CHECKING:
    from neural.tracking.agent.run_identity import RunIdentity

DELETE_TIMEOUT_S = 15.0
DAMAGED = "damaged"  # the listed status of a run with damaged events lines


def start_delivery(base_dir: Path) -> bool:
    """Start a collector or a courier if events of ended processes wait; return whether it did.

    Never in ``offline`` or ``disabled`` mode, where the user decides when. Does not wait for the process.

    Raises:
        OSError: no process could be started.
    """
    state = State.for_base_dir(base_dir)
    left = _is_own(state.root), os.path.isdir(state.remote_outbox)
    try:
        if not any(left) or agent_config(base_dir).mode != "online":
            return False
    except ConfigError as error:
        from neural.tracking.core.warn import warn

        # No helper starts with such settings, but the runs can be read.
        warn("no collector is started for events that may wait here: %s", error)
        return False
    from neural.tracking.agent.send.launcher import courier_of, launch, launch_collector

    local = left[0] and not state.collector_runs() and _has_work(state)
    if local:
        local = launch_collector(state, base_dir)
    remote = left[1] and any(not outbox.live for outbox in list_remote_outboxes(state))
    if remote:
        remote = launch(courier_of(state))
    return local or remote


def _has_work(state: State) -> bool:
    """Return whether a collector would have work here."""
    if has_orphans(state) or any_quarantined(state):
        return True
    return any(state.artifact_jobs.glob("*.json")) or log_waits(state)


def _is_own(folder: Path) -> bool:
    """Return whether the folder belongs to this user, so that this user's collector can work there."""
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def opening_of_existing(base_dir: Path, experiment_id: str, damaged: Damaged = "raise") -> Opening | None:
    """Return what a tracker of this run needs, None if there is no such run; raise as :func:`find_run`.

    ``damaged`` is for the tracker's reads. Blocks on the disk.
    """
    run = find_run(base_dir, experiment_id, "skip")  # the undamaged part of a run can still be read
    if run is None:
        return None
    settings = dict(run.settings)
    if run.facts.settings_via is not None:
        # Settings from another host do not count; if this host repeated them, they would.
        settings.pop("env", None)
        settings.pop("backend", None)
    if run.facts.damages and damaged == "raise":
        from neural.tracking.core.warn import warn

        warn("%s; some of its settings may be missing", DataDamagedError(run.folder, run.facts.damages).what)
    labels: dict[str, Any] = {"tags": [], "notes": None, "group": None}
    return Opening(
        base_dir=base_dir,
        folder=run.folder,
        identity=_identity(base_dir, run),
        config=agent_config(base_dir),
        event={**labels, "settings": settings},
        resumes=True,
        damaged=damaged,
    )


def _identity(base_dir: Path, run: Run) -> RunIdentity:
    from neural.tracking.agent.run_identity import RunIdentity

    after = Tombstones(State.for_base_dir(base_dir).tombstones).newest(run.uid)
    return RunIdentity(
        uid=run.uid,
        name=run.name,
        rank=0,
        world_size=1,
        attempt=1,
        role="join",
        key="get_experiment",
        after=after,
    )


def list_entries(base_dir: Path) -> list[dict[str, Any]]:
    """Return the entries of ``list_experiments``, newest first. Blocks on the disk; raises OSError."""
    return [run_entry(run) for run in list_runs(base_dir)]


def run_entry(run: Run) -> dict[str, Any]:
    """Return the list entry of a run, from its views if they are current, otherwise from its other files.

    The entry of a damaged run has its identity, the damage under ``damaged``, and no value that the damage may
    have changed. Blocks on the disk.
    """
    metadata, summary, damaged = _described(run)
    wanted = ("status", "start_time", "end_time", "tags", "notes", "group", "ranks")
    return {
        "experiment_name": run.name,
        "experiment_id": run.id,
        **{name: metadata.get(name) for name in wanted},
        "experiment_dir": str(run.folder),
        "hyperparameters": summary.get("hyperparameters") or {},
        "summary": summary,
        "damaged": damaged,
    }


def _described(run: Run) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Return metadata, summary, and the damage or None."""
    if (found := _current_views(run.folder)) is not None:
        return *found, None
    metadata: dict[str, Any] = {"status": DAMAGED, "start_time": iso_time(run.start_ns)}
    summary: dict[str, Any] = {}
    try:
        metadata, summary = run.metadata, {"hyperparameters": run.params}
        return metadata, run.summary(), None
    except DataDamagedError as error:
        return metadata, summary, error.what


def _current_views(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return metadata and summary of an ended run whose views were made after its last event."""
    with contextlib.suppress(OSError, ValueError):
        made_ns = min((folder / name).stat().st_mtime_ns for name in ("metadata.json", "summary.json"))
        logged_ns = max(path.stat().st_mtime_ns for path in folder.glob("events-*.jsonl"))
        metadata, summary = read_json(folder / "metadata.json"), read_json(folder / "summary.json")
        if made_ns > logged_ns and _are_intact(metadata, summary):
            return metadata, summary
    return None


def _are_intact(metadata: Any, summary: Any) -> bool:
    """Return whether the views, which anybody may have edited, still have the shape that lists need."""
    if not isinstance(metadata, dict) or metadata.get("status") not in ("completed", "failed"):
        return False
    metrics = summary.get("metrics") if isinstance(summary, dict) else None
    return isinstance(metrics, dict) and all(isinstance(metric, dict) for metric in metrics.values())


def delete_run(base_dir: Path, run: Run) -> None:
    """Remove a run's folder in ``base_dir``, and the run itself, unless the folder is a copy of another one.

    Raises:
        CollectorUnreachableError: a collector holds the folder but does not answer.
        InvalidNameError: the folder is a symbolic link.
        OSError: the folder cannot be removed.

    Blocks: until it is removed; for a running collector's answer 15 s at most.
    """
    state = State.for_base_dir(base_dir)
    with contextlib.suppress(CollectorUnreachableError):
        answer = request(state, "delete", timeout_s=DELETE_TIMEOUT_S, uid=run.uid, dir=run.folder.name)
        if not answer.get("ok"):
            raise OSError(f"the collector could not delete {run.folder}: {answer.get('error')}")
        return
    if not _delete_alone(state, run):
        raise CollectorUnreachableError(
            f"a collector holds {state.root} and does not answer, so {run.folder.name} was not deleted; "
            f"`ntrack doctor` shows what to do"
        )


def _delete_alone(state: State, run: Run) -> bool:
    """Delete a run under the collector's lock, so that no collector starts; return False if it is held."""
    state.make()
    fd = os.open(state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not os_support.lock_exclusively(fd):
            return False
        found = run_list.named_folder(state.base_dir, run.uid, run.folder.name)
        assert found is not None, "a name was given"
        if not run_list.is_copy(state.base_dir, found):
            # The tombstone first: it keeps out events of this run that are still in outboxes or the log.
            remote = remote_sessions(found.folder)
            Tombstones(state.tombstones).add(found.uid, found.folder.name, remote)
        remove_run_folder(found.folder)
        sweep(state.blobs)
    finally:
        os.close(fd)
    return True

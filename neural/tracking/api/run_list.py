"""The runs of a ``base_dir`` as a manager sees them: what there is, finding one, removing one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.api.recorder import Opening
from neural.tracking.artifacts.sweep import sweep
from neural.tracking.core import os_support
from neural.tracking.core.config import agent_config
from neural.tracking.core.files import read_json, take_away
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
DAMAGED = "damaged"  # stands for the status of a run whose events lines are


def rescue_orphans(base_dir: Path) -> bool:
    """Start who delivers events that nobody will bring, a collector or a courier; return whether one was.

    Never in ``offline`` or ``disabled`` mode: there the user decides when.
    """
    state = State.for_base_dir(base_dir)
    left = _is_own(state.root), os.path.isdir(state.remote_outbox)
    try:
        if not any(left) or agent_config(base_dir).mode != "online":
            return False
    except ConfigError as error:
        from neural.tracking.core.warn import warn

        # Nothing starts with such settings, but what is there can be read.
        warn("nobody is started for what may be left here: %s", error)
        return False
    from neural.tracking.agent.send.launcher import courier_of, launch, launch_collector

    here = left[0] and not state.collector_runs() and _waits(state)
    if here:
        here = launch_collector(state, base_dir)
    elsewhere = left[1] and any(not outbox.live for outbox in list_remote_outboxes(state))
    if elsewhere:
        elsewhere = launch(courier_of(state))
    return here or elsewhere


def _waits(state: State) -> bool:
    """Return whether a collector would find something to do here."""
    if has_orphans(state) or any_quarantined(state):
        return True
    return any(state.artifact_jobs.glob("*.json")) or log_waits(state)


def _is_own(folder: Path) -> bool:
    """Return whether this user's collector could work there."""
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def opening_of_existing(base_dir: Path, experiment_id: str, damaged: Damaged = "raise") -> Opening | None:
    """Return what a tracker of this run needs, or None where there is none; raises as :func:`find_run`.

    ``damaged`` is for its reads.
    """
    run = find_run(base_dir, experiment_id, "skip")  # what is whole of a damaged run can be read all the same
    if run is None:
        return None
    settings = dict(run.settings)
    if run.facts.settings_via is not None:
        # What another host said would be said anew by this one, and then it would count.
        settings.pop("env", None)
        settings.pop("backend", None)
    if run.facts.damages and damaged == "raise":
        from neural.tracking.core.warn import warn

        warn("%s; what it was opened with may be missing", DataDamagedError(run.folder, run.facts.damages).what)
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
    """Return what ``list_experiments`` gives, newest first."""
    return [run_entry(run) for run in list_runs(base_dir)]


def run_entry(run: Run) -> dict[str, Any]:
    """Return what a list says of a run: from its views where they are current, else from its truth.

    Of a damaged one: who it is, and under ``damaged`` what is wrong; nothing that damage may have changed.
    """
    metadata, summary, damaged = _told(run)
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


def _told(run: Run) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Return metadata, summary and what is damaged."""
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
        if made_ns > logged_ns and _is_whole(metadata, summary):
            return metadata, summary
    return None


def _is_whole(metadata: Any, summary: Any) -> bool:
    """Whether views that anybody may have edited are still of the shape that lists rely on."""
    if not isinstance(metadata, dict) or metadata.get("status") not in ("completed", "failed"):
        return False
    metrics = summary.get("metrics") if isinstance(summary, dict) else None
    return isinstance(metrics, dict) and all(isinstance(told, dict) for told in metrics.values())


def delete_run(base_dir: Path, run: Run) -> None:
    """Remove a run's folder in ``base_dir``, and with it the run, unless it is a copy beside the run's own.

    Raises:
        CollectorUnreachableError: a collector holds the folder but does not answer.
        InvalidNameError: it is a link to a folder.
        OSError: the folder cannot be removed.
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
            f"`ntrack doctor` tells what to do"
        )


def _delete_alone(state: State, run: Run) -> bool:
    """Delete a run while holding the collector's lock, so that none starts meanwhile; False: it is held."""
    state.make()
    fd = os.open(state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not os_support.lock_exclusively(fd):
            return False
        found = run_list.named_folder(state.base_dir, run.uid, run.folder.name)
        assert found is not None, "a name was given"
        if not run_list.is_copy(state.base_dir, found):
            # The tombstone first: whatever is still in outboxes or the log of this run then stays out.
            sessions = remote_sessions(found.folder)
            Tombstones(state.tombstones).add(found.uid, found.folder.name, sessions)
        take_away(found.folder)
        sweep(state.blobs)
    finally:
        os.close(fd)
    return True

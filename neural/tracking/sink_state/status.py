"""How sinks fare: what each still has to deliver, since when, what it set aside, what its trouble is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from neural.tracking.core.files import read_json
from neural.tracking.errors import ConfigError
from neural.tracking.formats.wire import VIA
from neural.tracking.reader.event_replay import vouched
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.sink_state import remote_grants
from neural.tracking.sink_state.config import SinkConfig, default_sink, sink_configs
from neural.tracking.sink_state.progress import Share, SinkFolder, sink_folders
from neural.tracking.sink_state.remote_grants import is_named
from neural.tracking.state.paths import State


class SinkStatus(NamedTuple):
    """One sink.

    ``state``: ``ok``, ``delivering``, ``retrying``, ``holding`` (single runs, the others go on),
    ``not installed``, ``detached`` or ``disabled``; whoever knows the types of sinks makes
    ``misconfigured`` of one that no worker has tried yet.
    """

    name: str
    type: str
    runs: str
    state: str
    lag_events: int
    lag_s: float
    delivered_events: int
    dead_letters: int
    restarts: int
    pid: int | None
    last_error: str | None


def known_sinks(state: State) -> dict[str, SinkConfig]:
    """Return every sink: those configured, and those that runs named; raises ConfigError."""
    found = sink_configs(state.base_dir)
    for folder in sink_folders(state):
        implicit = default_sink(folder.name)
        if folder.name not in found and implicit is not None:
            found[folder.name] = implicit
    return found


def sink_statuses(state: State, collector: Mapping[str, Any] | None) -> list[SinkStatus]:
    """Return how each sink fares; ``collector`` is what the running one answers to ``status``.

    Raises:
        ConfigError: the configuration cannot be read.
        OSError: the state folder cannot be read.
    """
    return [_status(state, config, collector or {}) for config in known_sinks(state).values()]


def _status(state: State, config: SinkConfig, collector: Mapping[str, Any]) -> SinkStatus:
    folder = SinkFolder(state, config.name)
    shares = {share.uid: share for share in folder.shares()}
    worker: Mapping[str, Any] = next(
        (w for w in collector.get("workers", ()) if w.get("name") == config.name), {}
    )
    about = worker.get("about") or read_json(folder.about) or {}
    lag = _lag_events(state, config, shares, collector)
    told = about.get("state") or "ok"
    if not config.enabled:
        told = "disabled"
    elif worker.get("detached"):
        told = "detached"
    elif told == "ok" and lag:
        told = "delivering"
    letters = folder.dead_letters.read_bytes().count(b"\n") if folder.dead_letters.exists() else 0
    return SinkStatus(
        name=config.name,
        type=config.type,
        runs=config.runs,
        state=told,
        lag_events=lag,
        lag_s=_lag_s(folder, worker, about) if lag else 0.0,
        delivered_events=sum(share.events_total for share in shares.values()),
        dead_letters=letters,
        restarts=worker.get("restarts", 0),
        pid=worker.get("pid"),
        last_error=about.get("error") or (worker.get("last_error") if told != "ok" else None),
    )


def _lag_events(
    state: State, config: SinkConfig, shares: Mapping[str, Share], collector: Mapping[str, Any]
) -> int:
    """Return how many events the sink has not been given yet, of all runs that are for it."""
    goals: dict[tuple[str, str], int] = {}
    for session in collector.get("sessions", ()):
        named = is_named(config, session.get("sinks"), session.get(VIA))
        concerned = config.runs == "all" or named
        if concerned or session["uid"] in shares:
            goals[session["uid"], session["session"]] = session["last"]
    for run in _runs_of(state, config, shares):
        for name, last in vouched(run.folder).items():
            place = (run.uid.hex(), name)
            goals[place] = max(last, goals.get(place, 0))
    given = {(uid, name): share.last(name) for uid, share in shares.items() for name in share.sessions}
    return sum(max(0, last - given.get(place, 0)) for place, last in goals.items())


def _runs_of(state: State, config: SinkConfig, shares: Mapping[str, Share]) -> list[Run]:
    """Return the runs in ``base_dir`` that were begun to be delivered, or name the sink."""
    return [
        run
        for run in list_runs(state.base_dir, "skip")
        if run.uid.hex() in shares or is_named(config, run.settings.get("backend"), run.facts.settings_via)
    ]


def _lag_s(folder: SinkFolder, worker: Mapping[str, Any], about: Mapping[str, Any]) -> float:
    """Return for how long the oldest event has waited that the sink lacks, at most.

    The worker tells when it was logged, or that nothing waited then; the collector, since when the
    worker never had all there is. Each is true and may be out of date, which only makes it larger.
    """
    now, bounds = time.time(), [worker.get("waits_s")]
    told_ns = about.get("since_ns") or about.get("told_ns")
    if isinstance(told_ns, int):
        bounds.append(now - told_ns / 1e9)
    known = [bound for bound in bounds if isinstance(bound, int | float)]
    since = folder.root / "since"
    if not known and since.exists():  # it never told anything
        known.append(now - since.stat().st_mtime)
    return max(0.0, min(known, default=0.0))


def unheeded(state: State, run: Run) -> list[str]:
    """Return what a run of another host says of sinks and does not get, each with what allows it."""
    settings, via = run.settings, run.facts.settings_via
    said = {VIA: via, "sinks": settings.get("backend"), "env": settings.get("env")}
    try:
        return (
            remote_grants.unheeded(said, sink_configs(state.base_dir), state.base_dir)
            if via is not None
            else []
        )
    except ConfigError as error:
        return [str(error)]


def links(state: State, uid: str) -> dict[str, str]:
    """Return where each sink shows a run, by the sink's name."""
    found = {}
    for folder in sink_folders(state):
        share = folder.share(uid)
        if share is not None and share.link:
            found[folder.name] = share.link
    return found

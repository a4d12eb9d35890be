"""The status of sinks: what each still has to deliver, since when, its dead letters and its last error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from neural.tracking.core.files import read_json
from neural.tracking.errors import ConfigError
from neural.tracking.formats.wire import VIA
from neural.tracking.reader.event_replay import durable_numbers
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.sink_state import remote_grants
from neural.tracking.sink_state.config import SinkConfig, default_sink, sink_configs
from neural.tracking.sink_state.progress import Share, SinkFolder, sink_folders
from neural.tracking.sink_state.remote_grants import is_named
from neural.tracking.state.paths import State


class SinkStatus(NamedTuple):
    """The status of one sink.

    ``state``: ``ok``, ``delivering``, ``retrying``, ``holding`` (single runs; the others continue),
    ``not installed``, ``detached`` or ``disabled``. Callers that know the types of sinks may replace it with
    ``misconfigured`` for a sink that no worker has tried yet. ``lag_s`` is in seconds, 0 without a lag.
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
    """Return every sink by name: those configured, and those that runs named; raises ConfigError."""
    found = sink_configs(state.base_dir)
    for folder in sink_folders(state):
        implicit = default_sink(folder.name)
        if folder.name not in found and implicit is not None:
            found[folder.name] = implicit
    return found


def sink_statuses(state: State, collector: Mapping[str, Any] | None) -> list[SinkStatus]:
    """Return the status of each sink. Blocks on the disk: reads the runs' ledgers.

    ``collector`` is the answer of the running collector to ``status``, None if there is none.

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
    sink_state = about.get("state") or "ok"
    if not config.enabled:
        sink_state = "disabled"
    elif worker.get("detached"):
        sink_state = "detached"
    elif sink_state == "ok" and lag:
        sink_state = "delivering"
    letters = folder.dead_letters.read_bytes().count(b"\n") if folder.dead_letters.exists() else 0
    return SinkStatus(
        name=config.name,
        type=config.type,
        runs=config.runs,
        state=sink_state,
        lag_events=lag,
        lag_s=_lag_s(folder, worker, about) if lag else 0.0,
        delivered_events=sum(share.events_total for share in shares.values()),
        dead_letters=letters,
        restarts=worker.get("restarts", 0),
        pid=worker.get("pid"),
        last_error=about.get("error") or (worker.get("last_error") if sink_state != "ok" else None),
    )


def _lag_events(
    state: State, config: SinkConfig, shares: Mapping[str, Share], collector: Mapping[str, Any]
) -> int:
    """Return how many events of its runs the sink still has to deliver."""
    goals: dict[tuple[str, str], int] = {}
    for session in collector.get("sessions", ()):
        named = is_named(config, session.get("sinks"), session.get(VIA))
        concerned = config.runs == "all" or named
        if concerned or session["uid"] in shares:
            goals[session["uid"], session["session"]] = session["last"]
    for run in _runs_of(state, config, shares):
        for name, last in durable_numbers(run.folder).items():
            place = (run.uid.hex(), name)
            goals[place] = max(last, goals.get(place, 0))
    given = {(uid, name): share.last(name) for uid, share in shares.items() for name in share.sessions}
    return sum(max(0, last - given.get(place, 0)) for place, last in goals.items())


def _runs_of(state: State, config: SinkConfig, shares: Mapping[str, Share]) -> list[Run]:
    """Return the runs in ``base_dir`` of which delivery has begun, or which name the sink."""
    return [
        run
        for run in list_runs(state.base_dir, "skip")
        if run.uid.hex() in shares or is_named(config, run.settings.get("backend"), run.facts.settings_via)
    ]


def _lag_s(folder: SinkFolder, worker: Mapping[str, Any], about: Mapping[str, Any]) -> float:
    """Return an upper bound for the waiting time in seconds of the oldest event that the sink lacks.

    The worker reports when that event was logged, or when nothing waited. The collector reports since when the
    worker has been behind. Either may be out of date, which only makes the value larger.
    """
    now, bounds = time.time(), [worker.get("waits_s")]
    told_ns = about.get("since_ns") or about.get("told_ns")
    if isinstance(told_ns, int):
        bounds.append(now - told_ns / 1e9)
    known = [bound for bound in bounds if isinstance(bound, int | float)]
    since = folder.root / "since"
    if not known and since.exists():  # the worker has never reported anything
        known.append(now - since.stat().st_mtime)
    return max(0.0, min(known, default=0.0))


def ignored_settings(state: State, run: Run) -> list[str]:
    """Return a text for each sink setting of a remote run that is ignored, with what would allow it."""
    settings, via = run.settings, run.facts.settings_via
    info = {VIA: via, "sinks": settings.get("backend"), "env": settings.get("env")}
    try:
        return (
            remote_grants.ignored_settings(info, sink_configs(state.base_dir), state.base_dir)
            if via is not None
            else []
        )
    except ConfigError as error:
        return [str(error)]


def links(state: State, uid: str) -> dict[str, str]:
    """Return the web address of a run (uid in hex digits) in each sink, by the sink's name."""
    found = {}
    for folder in sink_folders(state):
        share = folder.share(uid)
        if share is not None and share.link:
            found[folder.name] = share.link
    return found

"""Translates what the log and the run folders hold into the events that a sink is given.

The functions are pure: they read no file, no clock and no state of the process. Which event comes next, and
from where it is read, is decided in :mod:`~neural.tracking.collector.delivery.sequence`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neural.tracking.collector.delivery.run_status import StatusChange
from neural.tracking.collector.log.items import EventBatch
from neural.tracking.errors import FormatError
from neural.tracking.formats.events import NO_STEP
from neural.tracking.reader.artifacts import ArtifactCall, call_of
from neural.tracking.reader.event_replay import Emitted
from neural.tracking.sinks.base import RunEvent, RunInfo


def log_events(batch: EventBatch, after: int) -> list[Emitted]:
    """Return the batch's events numbered above ``after``, in order; of a damaged batch those that decode."""
    try:
        found = list(_decoded(batch))
    except FormatError:
        found = []
        for single in batch.singly():
            with contextlib.suppress(FormatError):
                found += _decoded(single)
    return [event for event in sorted(found, key=lambda e: e.seq) if event.seq > after]


def _decoded(batch: EventBatch) -> Iterator[Emitted]:
    session = batch.session.session.hex()
    decoded = batch.decode()
    for block in decoded.blocks:
        columns = zip(
            block.seq.tolist(), block.time_ns.tolist(), block.step.tolist(), block.values.tolist(), strict=True
        )
        for seq, time_ns, step, values in columns:
            data = dict(zip(block.names, values, strict=True))
            yield Emitted(session, seq, time_ns, None if step == NO_STEP else step, "metrics", data)
    for event in decoded.events:
        yield Emitted(session, event.seq, event.time_ns, event.step, event.kind, event.data)


def run_event(run: RunInfo, rank: int, event: Emitted) -> RunEvent:
    """Return an event of a session as the sink is given it."""
    return RunEvent(run, event.session, rank, event.seq, event.time_ns, event.step, event.kind, event.data)


def status_event(run: RunInfo, change: StatusChange, time_ns: int) -> RunEvent:
    """Return the event of a new status of the whole run; it belongs to no session and has number 0."""
    data = {"status": change.status, "error": change.error, "ended": change.ended}
    return RunEvent(run, "", 0, 0, time_ns, None, "status", data)


def artifact_event(run: RunInfo, rank: int, call: Mapping[str, Any], outcome: Mapping[str, Any]) -> RunEvent:
    """Return the event of a stored artifact.

    Args:
        run: the run whose folder holds the artifact.
        rank: that of the session.
        call: ``session``, ``seq``, ``time_ns``, ``step`` and data (``call``) of the event of the log call.
        outcome: what the collector noted when it had stored the artifact.
    """
    session, seq, time_ns = call["session"], call["seq"], call["time_ns"]
    stored = ArtifactCall(session, seq, time_ns, rank, call_of(call["call"]), outcome)
    data = {
        "name": stored.name,
        "version": stored.version,
        "path": str(run.folder / stored.path),
        "checksum": stored.checksum,
        "size": stored.size,
        "type": str(stored.call.get("type", "artifact")),
        "aliases": list(stored.call.get("aliases") or ()),
        "metadata": dict(stored.call.get("metadata") or {}),
        "uri": stored.call.get("uri"),
    }
    return RunEvent(run, session, rank, seq, time_ns, call["step"], "artifact", data)


def plot_event(run: RunInfo, number: int, path: Path, checksum: str, size_bytes: int, time_ns: int) -> RunEvent:
    """Return the event of the run's automatic plot number ``number``, counted from 1."""
    data: dict[str, Any] = {
        "name": path.name,
        "version": None,
        "path": str(path),
        "checksum": checksum,
        "size": size_bytes,
        "type": "figure",
        "aliases": [],
        "metadata": {},
        "uri": None,
        "picture": checksum,
    }
    # Numbers below zero: a plot is no event of a session.
    return RunEvent(run, "", 0, -number, time_ns, None, "artifact", data)


def dead_letter_event(run: RunInfo, letter: Mapping[str, Any]) -> RunEvent:
    """Return the event that a dead letter keeps."""
    place = (letter["session"], letter["rank"], letter["seq"], letter["time_ns"], letter["step"])
    return RunEvent(run, *place, letter["kind"], letter["data"])

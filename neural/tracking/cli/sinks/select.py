"""Finds the sink that a user names, and notifies a running collector of changes."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from neural.tracking.cli import output
from neural.tracking.errors import CollectorUnreachableError, TrackingError
from neural.tracking.sink_state.config import SinkConfig, default_sink
from neural.tracking.sink_state.status import known_sinks
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State


def one_sink(base_dir: Path, name: str) -> SinkConfig:
    """Return the sink of this name: configured, named by a run, or a sink type with default options.

    Raises Failure if there is none, or if the settings cannot be read.
    """
    try:
        found = known_sinks(State.for_base_dir(base_dir))
    except (TrackingError, OSError) as error:
        raise output.Failure(str(error)) from error
    config = found.get(name) or default_sink(name)
    if config is None:
        near = difflib.get_close_matches(name, found, n=1)
        hint = (
            f"did you mean {near[0]}?" if near else "see `ntrack sinks ls`, or add it with `ntrack sinks add`"
        )
        raise output.Failure(f"no sink {name!r} in {base_dir}", hint=hint)
    return config


def notify_collector(base_dir: Path, cmd: str = "sinks", **fields: Any) -> bool:
    """Send ``cmd`` to a running collector; return whether it accepted it, False if none answers."""
    try:
        answer = request(State.for_base_dir(base_dir), cmd, **fields)
    except CollectorUnreachableError:
        return False
    return bool(answer.get("ok"))

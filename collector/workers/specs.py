"""Which workers a collector has, and which applier each one runs in its own process.

``BUILTIN`` is the place for a new kind of worker: its name, how its applier is created (in the worker's
process, so heavy imports belong inside), and how the supervisor treats it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from neural.tracking.collector.applier import Applier
from neural.tracking.sink_state.config import sink_named
from neural.tracking.state.paths import State

STORE = "store"
VISUALIZER = "visualizer"


class WorkerSpec(NamedTuple):
    """How the supervisor treats one worker.

    ``holds_log``: log segments stay until its cursor has passed them, unless that takes more than
    ``budget_bytes`` or ``budget_s`` seconds. ``stays``: it runs while a session is live, even if it has nothing
    to do; other workers leave when idle and are spawned again when needed. ``reads_folders``: it may read the
    log only as far as the store has applied it, and is told at most twice a second. ``named_only``: it needs
    only the sessions that name it. ``python``: its interpreter, if that is not the collector's own.
    ``version``: when it changes, the worker is restarted.
    """

    name: str
    holds_log: bool
    stays: bool = False
    python: str = ""
    reads_folders: bool = False
    named_only: bool = False
    budget_bytes: float = math.inf
    budget_s: float = math.inf
    memory_bytes: float = math.inf
    version: str = ""


class Builtin(NamedTuple):
    """A kind of worker that every collector has: how its applier is created, how the worker is treated."""

    make: Callable[[State], Applier]
    holds_log: bool
    stays: bool
    reads_folders: bool = False


def _store(state: State) -> Applier:
    from neural.tracking.collector.store.applier import StoreApplier

    return StoreApplier(state)


def _visualizer(state: State) -> Applier:
    from neural.tracking.collector.visualizer.applier import VisualizerApplier
    from neural.tracking.core.config import CollectorConfig, collector_config
    from neural.tracking.errors import ConfigError

    try:
        config = collector_config(state.base_dir)
    # the file was edited after the collector started; the collector goes on, and the doctor reports it
    except ConfigError:
        config = CollectorConfig()
    return VisualizerApplier(state, niceness=config.drawing_niceness)


BUILTIN: dict[str, Builtin] = {
    STORE: Builtin(_store, holds_log=True, stays=True),
    VISUALIZER: Builtin(_visualizer, holds_log=False, stays=False, reads_folders=True),
}


def builtin_specs() -> list[WorkerSpec]:
    """Return the workers that need no configuration, the store first. Never blocks."""
    return [
        WorkerSpec(name, kind.holds_log, kind.stays, reads_folders=kind.reads_folders)
        for name, kind in BUILTIN.items()
    ]


def make_applier(name: str, state: State) -> Applier:
    """Return the applier of the worker with this name, not yet opened. Blocks while its modules are imported.

    Raises:
        ValueError: there is no such worker.
    """
    if name in BUILTIN:
        return BUILTIN[name].make(state)
    config = sink_named(name, state.base_dir)
    from neural.tracking.collector.delivery.applier import SinkApplier

    return SinkApplier(config, state)

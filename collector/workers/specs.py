"""Which workers a collector keeps, and what each one is inside its own process.

``BUILTIN`` is where a new kind of worker is plugged in: its name, how its applier is made (called in
the worker's process, so heavy imports belong inside), and how the supervisor is to treat it.
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

    ``holds_log``: log segments stay until its cursor passed them, unless that takes more than
    ``budget_bytes`` or ``budget_s``. ``stays``: it is kept while a session is live, also when it has
    nothing to do; others leave when idle and are spawned again when needed. ``reads_folders``: it is told
    of the log only what the store has applied, at most twice a second. ``named_only``: only sessions that
    name it concern it. ``python``: its interpreter, where that is not the collector's own. ``version``:
    where it changes, the worker is started anew.
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
    """A kind of worker every collector has: makes its applier, says how it is treated."""

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
    except ConfigError:  # edited since the collector started, which goes on, too; the doctor tells of it
        config = CollectorConfig()
    return VisualizerApplier(state, niceness=config.drawing_niceness)


BUILTIN: dict[str, Builtin] = {
    STORE: Builtin(_store, holds_log=True, stays=True),
    VISUALIZER: Builtin(_visualizer, holds_log=False, stays=False, reads_folders=True),
}


def builtin_specs() -> list[WorkerSpec]:
    """Return the workers that need no configuration, the store first."""
    return [
        WorkerSpec(name, kind.holds_log, kind.stays, reads_folders=kind.reads_folders)
        for name, kind in BUILTIN.items()
    ]


def make_applier(name: str, state: State) -> Applier:
    """Return what the worker of this name applies the log to, not yet opened.

    Raises:
        ValueError: there is none.
    """
    if name in BUILTIN:
        return BUILTIN[name].make(state)
    config = sink_named(name, state.base_dir)
    from neural.tracking.collector.delivery.applier import SinkApplier

    return SinkApplier(config, state)

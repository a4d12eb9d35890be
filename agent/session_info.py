"""The description of a session: for the collector, for its outbox, and for its first event."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking import __version__
from neural.tracking.core import os_support
from neural.tracking.state.tombstones import AFTER

if TYPE_CHECKING:
    from neural.tracking.agent.run_identity import RunIdentity
    from neural.tracking.core.config import AgentConfig
    from neural.tracking.formats import wire


def info(
    run: RunIdentity, base_dir: Path, config: AgentConfig, opened_ns: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the description of this process's session for HELLO and ``session.json``."""
    after = {AFTER: run.after} if run.after else {}
    where = {} if config.collector is None else {"collector": config.collector}
    sinks = {"sinks": settings["backend"]} if settings.get("backend") else {}
    env = {"env": settings["env"]} if settings.get("env") else {}
    return {
        "name": run.name,
        "dir": f"{run.name}_{run.experiment_id}",
        "base_dir": str(base_dir),
        "rank": run.rank,
        "world_size": run.world_size,
        "attempt": run.attempt,
        "role": run.role,
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "boot_id": os_support.boot_id(),
        "start_time": os_support.process_start_ticks(os.getpid()) or 0,
        "opened_ns": opened_ns,
        "key": run.key,
        "mode": config.mode,
        **after,
        **where,
        **sinks,
        **env,
    }


def hello(run: RunIdentity, session: bytes, session_info: dict[str, Any]) -> wire.Hello:
    """Return the HELLO of a session. Call it on the sender's thread."""
    from neural.tracking.formats import wire

    return wire.Hello(
        protocol=wire.PROTOCOL, version=__version__, session=session, uid=run.uid, info=session_info
    )


def open_event(run: RunIdentity, opened_ns: int) -> dict[str, Any]:
    """Return the description of the run for a session's first event."""
    return {
        "name": run.name,
        "role": run.role,
        "rank": run.rank,
        "attempt": run.attempt,
        "world_size": run.world_size,
        "started_ns": opened_ns,
    }

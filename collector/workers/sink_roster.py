"""Which sinks a collector has workers for: those of ``config.toml``, and those that runs name.

People edit the file, too: its stamp is checked every second, and it is read again when it has changed. A file
that cannot be read changes nothing; ``status`` shows the error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from neural.tracking.collector.log.sessions import SessionState
from neural.tracking.collector.workers.specs import WorkerSpec, builtin_specs
from neural.tracking.errors import TrackingError
from neural.tracking.sink_state import remote_grants
from neural.tracking.sink_state.config import SinkConfig, default_sink, sink_configs
from neural.tracking.sink_state.progress import SinkFolder, sink_folders
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)


class SinkRoster:
    """The sinks of one collector."""

    def __init__(self, state: State) -> None:
        self.config_error: str | None = None
        self._state = state
        self._configured: dict[str, SinkConfig] = {}
        self._stamp: tuple[int, int] | None = None
        self._named: set[str] = set()
        self.reload()

    def reload(self) -> None:
        """Read the file and the sinks' folders: a sink that a run named once stays known. Blocks briefly."""
        self._named |= {folder.name for folder in sink_folders(self._state) if default_sink(folder.name)}
        self.reload_file()

    def reload_file(self) -> bool:
        """Read the file if it has changed; return whether it had. Blocks briefly on the disk."""
        stamp = self._file_stamp()
        if stamp == self._stamp and self.config_error is None:
            return False
        self._stamp = stamp
        try:
            self._configured = sink_configs(self._state.base_dir)
            self.config_error = None
        except (TrackingError, OSError) as error:
            # Tried again each time: the file's owner or mode may be corrected without a change of the file.
            if str(error) != self.config_error:
                logger.error("the sinks were not changed, their configuration cannot be read: %s", error)
            self.config_error = str(error)
        return True

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            status = self._state.config_file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def add_named(self, sessions: Iterable[SessionState]) -> bool:
        """Add the sinks that the sessions name; return whether one is new. Never blocks."""
        # A session of another host starts no sink that the owner did not configure: it would use the owner's
        # credentials.
        names = {name for session in sessions if not session.is_remote for name in named_sinks(session)}
        new = {name for name in names - self._named if default_sink(name)}
        self._named |= new
        return bool(new - set(self._configured))

    def ignored_settings(self, session: SessionState) -> list[str]:
        """Return what a session of another host asks of sinks in vain, for people. Blocks briefly."""
        return remote_grants.ignored_settings(session.info, self._configured, self._state.base_dir)

    def specs(self) -> list[WorkerSpec]:
        """Return every worker that the collector should have. Never blocks."""
        implicit = {name: default_sink(name) for name in sorted(self._named) if name not in self._configured}
        configs = {**self._configured, **{n: c for n, c in implicit.items() if c is not None}}
        return [*builtin_specs(), *(_spec(config) for config in configs.values() if config.enabled)]

    def pending_errands(self) -> list[str]:
        """Return the sinks with a request that came while no collector ran. Blocks briefly on the disk."""
        return [
            spec.name
            for spec in self.specs()
            if any(SinkFolder(self._state, spec.name).errands.glob("*"))
            or any(SinkFolder(self._state, spec.name).root.glob("retry-*"))
            or (SinkFolder(self._state, spec.name).root / "sweep").exists()
        ]


def named_sinks(session: SessionState) -> list[str]:
    """Return the sinks that a session names for its run. Never blocks."""
    names = session.info.get("sinks")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _spec(config: SinkConfig) -> WorkerSpec:
    return WorkerSpec(
        config.name,
        holds_log=True,
        python=config.python or "",
        named_only=config.runs == "named",
        budget_bytes=config.log_budget_bytes,
        budget_s=config.log_budget_hours * 3600,
        memory_bytes=config.memory_limit_bytes,
        version=repr(config),
    )

"""Which sinks a collector keeps workers for: those of ``config.toml``, and those that runs name.

The file is people's, too: it is looked at every second and read again when it changed. One that cannot
be read changes nothing; ``status`` tells why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from neural.tracking.collector.log.sessions import SessionState
from neural.tracking.collector.workers.specs import WorkerSpec, builtin_specs
from neural.tracking.errors import TrackingError
from neural.tracking.sink_state import guests
from neural.tracking.sink_state.config import SinkConfig, default_sink, sink_configs
from neural.tracking.sink_state.progress import SinkFolder, sink_folders
from neural.tracking.state.paths import State

logger = logging.getLogger(__name__)


class SinkRoster:
    """The sinks of one collector."""

    def __init__(self, state: State) -> None:
        self.trouble: str | None = None
        self._state = state
        self._configured: dict[str, SinkConfig] = {}
        self._stamp: tuple[int, int] | None = None
        self._named: set[str] = set()
        self.look()

    def look(self) -> None:
        """Read the file and the folders: a sink that a run named stays known. Blocks briefly."""
        self._named |= {folder.name for folder in sink_folders(self._state) if default_sink(folder.name)}
        self.read_file()

    def read_file(self) -> bool:
        """Read the file if it changed; return whether it did. Blocks briefly."""
        stamp = self._file_stamp()
        if stamp == self._stamp and self.trouble is None:
            return False
        self._stamp = stamp
        try:
            self._configured = sink_configs(self._state.base_dir)
            self.trouble = None
        except (TrackingError, OSError) as error:
            # Tried again each time: whose the file is may be mended without a change of the file.
            if str(error) != self.trouble:
                logger.error("sinks stay as they are: %s", error)
            self.trouble = str(error)
        return True

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            found = self._state.config_file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def heard(self, sessions: Iterable[SessionState]) -> bool:
        """Learn which sinks the sessions name; return whether there is a new one."""
        # One of another host starts nothing that its owner did not configure: it would have his credentials.
        names = {name for session in sessions if not session.is_remote for name in named_sinks(session)}
        new = {name for name in names - self._named if default_sink(name)}
        self._named |= new
        return bool(new - set(self._configured))

    def ignored_settings(self, session: SessionState) -> list[str]:
        """Return what a session of another host says of sinks and does not get."""
        return guests.unheeded(session.info, self._configured, self._state.base_dir)

    def specs(self) -> list[WorkerSpec]:
        """Return every worker that is to be kept."""
        implicit = {name: default_sink(name) for name in sorted(self._named) if name not in self._configured}
        configs = {**self._configured, **{n: c for n, c in implicit.items() if c is not None}}
        return [*builtin_specs(), *(_spec(config) for config in configs.values() if config.enabled)]

    def errands(self) -> list[str]:
        """Return the sinks that were asked for something while nobody listened."""
        return [
            spec.name
            for spec in self.specs()
            if any(SinkFolder(self._state, spec.name).errands.glob("*"))
            or any(SinkFolder(self._state, spec.name).root.glob("retry-*"))
            or (SinkFolder(self._state, spec.name).root / "sweep").exists()
        ]


def named_sinks(session: SessionState) -> list[str]:
    """Return the sinks a session's run is for by name."""
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

"""Starting a collector that outlives this process: detached, and one for many ranks that find none.

Whoever starts one holds ``launch.lock`` until the new collector holds its own lock. Looking whether
a collector runs takes its lock shared, for microseconds; a collector that starts tries for longer.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

from neural.tracking import system
from neural.tracking.agent.notice import warn
from neural.tracking.config import collector_config
from neural.tracking.errors import ConfigError
from neural.tracking.state import State

STARTS_WITHIN_S = 10.0


def collector_runs(state: State) -> bool:
    """Return whether some process holds the collector's lock, also a suspended one."""
    try:
        fd = os.open(state.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class Launcher:
    """Starts a collector when none runs and nobody else is starting one."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._fd = -1
        self._until = 0.0
        self._told = False

    @property
    def starting(self) -> bool:
        """Whether the one started here is not up yet, as far as :meth:`settle` knows."""
        return self._fd >= 0

    def launch(self) -> bool:
        """Start a collector; return whether one runs or is being started, by whomever.

        Raises:
            OSError: no process could be started.
        """
        if self.starting or collector_runs(self._state):
            return True
        try:
            collector_config(self._state.base_dir)
        except (ConfigError, OSError) as error:  # else only its own log would tell
            if not self._told:
                self._told = True
                warn("no collector can be started, what is logged waits in its outbox: %s", error)
            return False
        fd = os.open(self._state.launch_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not system.lock_exclusively(fd):
            os.close(fd)
            return True
        try:
            _spawn(self._state)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._until = fd, time.monotonic() + STARTS_WITHIN_S
        return True

    def settle(self) -> None:
        """Let others try once the collector runs, or did not come up in time."""
        if self._fd >= 0 and (time.monotonic() > self._until or collector_runs(self._state)):
            self.close()

    def close(self) -> None:
        """Let go of the launch lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def launch_collector(state: State, base_dir: Path | None = None) -> bool:
    """Start a collector unless one runs; return at once whether one runs or is being started.

    Raises:
        OSError: no process could be started.
    """
    assert base_dir is None or Path(os.path.abspath(base_dir)) == state.base_dir
    launcher = Launcher(state)
    try:
        return launcher.launch()
    finally:
        launcher.close()


def _spawn(state: State) -> None:
    """Start the daemon through a shell that is gone at once, so that it is nobody's child here."""
    import subprocess  # not on the trainer's thread: see the import budget

    command = [sys.executable, "-P", "-m", "neural.tracking.collector", "run"]
    arguments = ["--base-dir", str(state.base_dir), "--auto"]
    with state.daemon_log.open("ab") as log:
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" & ', "sh", *command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state.root,
            env=_environment(),
            start_new_session=True,
            check=False,
        )
    if done.returncode:  # it could not fork: too many processes
        raise OSError(f"no process could be started for the collector, see {state.daemon_log}")


def _environment() -> dict[str, str]:
    """Return the environment in which the daemon finds this package, wherever it was imported from."""
    environ = dict(os.environ)
    root = Path(__file__).parents[2] if __name__.startswith("neural.") else Path(__file__).parents[1]
    if not (root / "neural").is_dir():
        root = root.parent
    entries = [os.path.abspath(entry) for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if root.name not in ("site-packages", "dist-packages"):
        entries.append(str(root))
    if entries:
        environ["PYTHONPATH"] = os.pathsep.join(entries)
    return environ

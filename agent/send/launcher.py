"""Starts a detached helper that outlives this process; many ranks that find none start only one.

The helper is a collector. If the collector is on another host, it is a courier, which ships the orphans of this
host. The process that starts a helper holds the launch lock until the helper holds its own lock. A check
whether a helper runs takes the helper's lock shared for microseconds; a starting helper tries for longer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from neural import tracking
from neural.tracking.core import interpreter, os_support
from neural.tracking.core.config import collector_config
from neural.tracking.core.warn import warn
from neural.tracking.errors import ConfigError
from neural.tracking.state.paths import State

STARTS_WITHIN_S = 10.0
_warned: set[str] = set()  # warnings are given once a process, not by each session
_launching = threading.RLock()  # held while a thread of this process starts a helper


def _after_fork_in_child() -> None:
    global _launching
    _launching = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Helper(NamedTuple):
    """A process that can be started: module and arguments, its own lock, the launch lock, its log file.

    ``check`` raises ConfigError if the helper would fail at its start. ``if_unavailable`` is the part of the
    warning that says what happens without the helper, and how the user gets the work done then.
    """

    name: str
    if_unavailable: str
    arguments: tuple[str, ...]
    lock: Path
    launch_lock: Path
    log: Path
    check: Callable[[], object]


def collector_of(state: State) -> Helper:
    """Return the collector of a state folder."""

    def check() -> None:
        listen = collector_config(state.base_dir).listen
        if listen is None:
            return
        from neural.tracking.remote.keys import COLLECTOR_SECRET

        if not (state.keys / COLLECTOR_SECRET).exists():
            raise ConfigError(f"it should listen on {listen} and has no key; `ntrack keys collector` makes one")

    arguments = ("neural.tracking.collector", "run", "--base-dir", str(state.base_dir), "--auto")
    if_unavailable = (
        f"events wait in the outbox; `ntrack collector start --base-dir {state.base_dir}` delivers them"
    )
    return Helper(
        "collector", if_unavailable, arguments, state.lock, state.launch_lock, state.daemon_log, check
    )


def courier_of(state: State) -> Helper:
    """Return the courier of a state folder."""
    arguments = ("neural.tracking.agent.courier.courier", str(state.base_dir), str(state.root))
    launch_lock = state.courier_lock.with_suffix(".launch")
    if_unavailable = (
        f"events that this process leaves unsent wait; `ntrack status --base-dir {state.base_dir}` sends them"
    )
    return Helper(
        "courier", if_unavailable, arguments, state.courier_lock, launch_lock, state.courier_log, lambda: None
    )


def runs(helper: Helper) -> bool:
    """Return whether some process holds the helper's lock. Never blocks."""
    return os_support.is_locked(helper.lock)


class Launcher:
    """Starts a helper if none runs and no other process is starting one."""

    def __init__(self, helper: Helper) -> None:
        self.launched = 0  # number of starts by this launcher
        self.hopeless = False  # no helper can start with the present settings
        self._helper = helper
        self._fd = -1
        self._until = 0.0

    @property
    def starting(self) -> bool:
        """Whether a helper started by this launcher is not ready yet, as of the last :meth:`settle`."""
        return self._fd >= 0

    def launch(self) -> bool:
        """Start the helper; return whether one runs or is being started, by any process.

        Returns False, with a warning, if no helper can start with the present settings. Waits until the process
        is started, also if another thread starts one; does not wait until the helper is ready.

        Raises:
            OSError: no process could be started.
        """
        if self.starting or runs(self._helper):
            return True
        # Otherwise a process that exits finds the launch lock held by its own sender's thread, starts nothing,
        # and ends that thread before it has started the helper.
        lock = _launching
        if not lock.acquire(timeout=STARTS_WITHIN_S):
            return True
        try:
            return self._launch()
        finally:
            lock.release()

    def _launch(self) -> bool:
        try:
            python = interpreter.to_start()
            self._helper.check()
        except (ConfigError, OSError) as error:  # otherwise only the helper's log would contain it
            self.hopeless = True
            text = f"no {self._helper.name} can be started: {error}; {self._helper.if_unavailable}"
            if text not in _warned:
                _warned.add(text)
                warn("%s", text)
            return False
        self.hopeless = False  # corrected settings take effect at once
        fd = os.open(self._helper.launch_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not os_support.lock_exclusively(fd):
            os.close(fd)
            return True
        try:
            _spawn(self._helper, python)
        except BaseException:
            os.close(fd)
            raise
        self.launched += 1
        self._fd, self._until = fd, time.monotonic() + STARTS_WITHIN_S
        return True

    def settle(self) -> None:
        """Release the launch lock once the helper runs, or did not start within 10 s. Never blocks."""
        if self._fd >= 0 and (time.monotonic() > self._until or runs(self._helper)):
            self.close()

    def close(self) -> None:
        """Release the launch lock, if it is held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def launch_collector(state: State, base_dir: Path | None = None) -> bool:
    """Start a collector unless one runs; return whether one runs or is being started. Does not wait for it.

    Raises:
        OSError: no process could be started.
    """
    assert base_dir is None or Path(os.path.abspath(base_dir)) == state.base_dir
    return launch(collector_of(state))


def launch(helper: Helper) -> bool:
    """Start a helper unless one runs; return and raise as :func:`launch_collector`."""
    launcher = Launcher(helper)
    try:
        return launcher.launch()
    finally:
        launcher.close()


def _spawn(helper: Helper, python: str) -> None:
    """Start it through a shell that exits at once, so that it is not a child of this process."""
    import subprocess  # slow to import; imported here so that the training thread does not pay for it

    command = [python, "-P", "-m", *helper.arguments]
    with helper.log.open("ab") as log:
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" & ', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=helper.log.parent,
            env=_environment() if interpreter.is_own(python) else _environment_of_another(),
            start_new_session=True,
            check=False,
        )
    if done.returncode:  # it could not fork: too many processes
        raise OSError(f"no process could be started, see {helper.log}")


def _environment() -> dict[str, str]:
    """Return the environment in which the helper finds this package, from wherever it was imported."""
    environ = dict(os.environ)
    root = Path(tracking.__file__).parents[2]
    entries = [os.path.abspath(entry) for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if root.name not in ("site-packages", "dist-packages"):
        entries.append(str(root))
    if entries:
        environ["PYTHONPATH"] = os.pathsep.join(entries)
    return environ


def _environment_of_another() -> dict[str, str]:
    """Return the environment for another interpreter: without the library paths that a self-extracting
    application (PyInstaller) set for its own libraries."""
    environ = dict(os.environ)
    if getattr(sys, "frozen", False):
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            environ.pop(name, None)
            if f"{name}_ORIG" in environ:
                environ[name] = environ.pop(f"{name}_ORIG")
    return environ

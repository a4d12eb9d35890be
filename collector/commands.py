"""What ``ntrack collector run|start|stop|status`` does. Imports nothing heavy before the lock is taken."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.collector import lock as locks
from neural.tracking.core import interpreter
from neural.tracking.core.config import collector_config
from neural.tracking.core.exit_status import EXIT_OK, EXIT_UNREACHABLE
from neural.tracking.errors import CollectorUnreachableError, ConfigError
from neural.tracking.state.paths import State

if TYPE_CHECKING:
    from neural.tracking.remote.keys import Pair

MAX_FILES = 65_536


def run(
    base_dir: Path | str,
    *,
    auto: bool = False,
    idle_exit_s: float | None = None,
    verbose: bool = False,
    listen: str | None = None,
) -> int:
    """Be the collector of ``base_dir`` until stopped.

    Args:
        base_dir: where the run folders are; made if it is not there.
        auto: leave by itself after the idle time.
        idle_exit_s: the idle time; default ``NTRACK_IDLE_EXIT_S``, else as configured.
        verbose: say on stderr what goes to ``collector.log``.
        listen: ``tcp://host:port`` for trainings on other hosts; default as configured, else nowhere.

    Returns:
        0, also when another one holds the lock; 1 after a failure; 3 if anything was left.

    Raises:
        ConfigError: a setting is wrong, the state folder another user's, it is to listen to other hosts
            and has no keys, or there is no Python to start its workers with.
        OSError: the state folder cannot be made.
    """
    interpreter.to_start()
    state = State.for_base_dir(base_dir)
    state.base_dir.mkdir(parents=True, exist_ok=True)
    state.make()
    state.make_socket_folder()
    lock = locks.acquire(state.lock)
    if lock is None:
        if verbose:
            sys.stderr.write(f"a collector runs already on {state.base_dir}\n")
        return EXIT_OK
    pair = check_listen(state, listen)
    idle_exit_s = idle_exit_s or _idle_from_environment()
    config = collector_config(state.base_dir, idle_exit_s=idle_exit_s, listen=listen)

    from neural.tracking.collector import daemon, daemon_log

    with daemon_log.to_file(state.daemon_log, also_stderr=verbose):
        return daemon.run(state.base_dir, lock, state, config, auto=auto, pair=pair)


def check_listen(state: State, listen: str | None) -> Pair | None:
    """Return the key pair for listening to other hosts, None where it is not to; make room for many.

    Raises:
        ConfigError: it is to listen, and has no key to prove itself with.
        OSError: the key cannot be read.
    """
    address = collector_config(state.base_dir, listen=listen).listen
    if address is None:
        return None
    from neural.tracking.remote import keys

    resource.setrlimit(resource.RLIMIT_NOFILE, _most_files())
    try:
        return keys.read_pair(state.keys / keys.COLLECTOR_SECRET)
    except FileNotFoundError:
        raise ConfigError(
            f"this collector is to listen on {address} and has no key to prove itself with; "
            f"`ntrack keys collector` makes one, `ntrack keys allow` lets others in"
        ) from None


def _most_files() -> tuple[int, int]:
    """Return the limit of open files that may be had: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    return max(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard


def start(base_dir: Path | str, *, timeout_s: float = 30.0, listen: str | None = None) -> int:
    """Start a detached collector, listening to other hosts where asked, and wait until it answers.

    Returns:
        0 when one answers, also if it ran before; 4 when it does not within the time, or when the
        lock is held by one that does not answer: that one is never doubled.

    Raises:
        ConfigError: with these settings none would come up.
    """
    state = State.for_base_dir(base_dir)
    if not state.collector_runs():
        check_listen(state, listen)
        spawn(state, *(["--listen", listen] if listen else []))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            _ask(state, "ping", timeout_s=1.0)
        except CollectorUnreachableError:
            time.sleep(0.05)
        else:
            return EXIT_OK
    return EXIT_UNREACHABLE


def spawn(state: State, *arguments: str) -> int:
    """Spawn a detached collector, its own session, without waiting for it; return its process id.

    Raises:
        ConfigError: there is no Python to start it with.
    """
    command = [interpreter.to_start(), "-P", "-m", "neural.tracking.collector", "run"]
    process = subprocess.Popen(
        [*command, "--base-dir", str(state.base_dir), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    process.returncode = 0  # it is nobody's child to wait for: keeps Popen from warning of that
    return process.pid


def stop(base_dir: Path | str, *, timeout_s: float = 40.0) -> int:
    """Ask the collector to drain and leave, and wait until it let go of its lock.

    Returns:
        0 once none runs; 4 if one still holds the lock after the time.
    """
    state = State.for_base_dir(base_dir)
    if not state.collector_runs():
        return EXIT_OK
    try:
        _ask(state, "stop", timeout_s=2.0)
    except CollectorUnreachableError:
        _terminate(state)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not state.collector_runs():
            return EXIT_OK
        time.sleep(0.05)
    return EXIT_UNREACHABLE


def status(base_dir: Path | str, *, timeout_s: float = 2.0) -> dict[str, Any]:
    """Return what the collector tells of itself, and ``running``: whether one holds the lock.

    ``{"running": False}`` where none runs; ``{"running": True, "reachable": False, "holder": …}``
    where one holds the lock and does not answer.
    """
    state = State.for_base_dir(base_dir)
    if not state.collector_runs():
        return {"running": False}
    try:
        return {"running": True, "reachable": True, **_ask(state, "status", timeout_s=timeout_s)}
    except CollectorUnreachableError as error:
        about = locks.holder(state.lock)
        return {"running": True, "reachable": False, "holder": about, "error": str(error)}


def _ask(state: State, cmd: str, *, timeout_s: float) -> dict[str, Any]:
    from neural.tracking.state.control_client import request

    return request(state, cmd, timeout_s=timeout_s)


def _terminate(state: State) -> None:
    """Ask by signal one that does not answer; it acts on it when it is continued."""
    about = locks.holder(state.lock)
    pid = about.get("pid")
    if isinstance(pid, int) and pid > 1 and about.get("host") == os.uname().nodename:
        try:
            os.kill(pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            return


def _idle_from_environment() -> float | None:
    text = os.environ.get("NTRACK_IDLE_EXIT_S", "")
    try:
        return float(text) if text else None
    except ValueError:
        return None

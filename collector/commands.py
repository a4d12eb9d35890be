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
    """Run the collector of ``base_dir`` until it is stopped. Blocks until then.

    Args:
        base_dir: the folder of the run folders; created if it is missing.
        auto: leave when the idle time is over.
        idle_exit_s: the idle time in seconds; default ``NTRACK_IDLE_EXIT_S``, else as configured.
        verbose: write to stderr, too, what goes to ``collector.log``.
        listen: ``tcp://host:port`` for trainings on other hosts; default as configured, else none.

    Returns:
        0, also if another collector holds the lock; 1 after a failure; 3 if events were left.

    Raises:
        ConfigError: a setting is wrong, the state folder belongs to another user, the collector should listen
            to other hosts and has no keys, or there is no Python to start its workers with.
        OSError: the state folder cannot be created.
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
    """Return the key pair for listening to other hosts, None if the collector should not; raise the file limit.

    Blocks briefly on the disk.

    Raises:
        ConfigError: it should listen, and has no key to prove itself with.
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
    """Return the highest possible limit of open files: each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    return max(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard


def start(base_dir: Path | str, *, timeout_s: float = 30.0, listen: str | None = None) -> int:
    """Start a detached collector, and wait until it answers, ``timeout_s`` seconds at most.

    Returns:
        0 when a collector answers, also if it ran before; 4 if none answers within the time. A collector that
        holds the lock and does not answer is never doubled.

    Raises:
        ConfigError: with these settings no collector would start.
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
    """Spawn a detached collector in a session of its own; return its process id. Does not wait for it.

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
    process.returncode = 0  # nobody waits for it: this keeps Popen from a warning
    return process.pid


def stop(base_dir: Path | str, *, timeout_s: float = 40.0) -> int:
    """Ask the collector to drain and leave, and wait until it has released its lock.

    Blocks for ``timeout_s`` seconds at most.

    Returns:
        0 once no collector runs; 4 if one still holds the lock after the time.
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
    """Return the collector's status, and ``running``: whether a collector holds the lock.

    The result is ``{"running": False}`` if none runs, and ``{"running": True, "reachable": False, "holder":
    …}`` if one holds the lock and does not answer within ``timeout_s`` seconds. Blocks for that long at most.
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
    """Ask by signal a collector that does not answer; if it is suspended, it obeys when it is continued."""
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

"""Tools for every fault test: the environment, kills of a collector, clocks, damaged files.

They never kill by name: only a process that the test started, or that holds the lock of the test's own
``base_dir``. The ``keeper`` fixture starts processes, see ``keeper.py``.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from neural.tracking.state.paths import State
from tests.patience import LONG, wait_until


def rounds(short: int, long: int) -> int:
    """Return the number of repetitions: ``short`` in ``make test``, ``long`` in ``make faults``."""
    return long if LONG else short


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with ``changes``, without variables that change a run's identity."""
    ours = ("NTRACK_", "SLURM_", "PMIX_", "OMPI_", "TORCHELASTIC_", "FAULT")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PYTHONPATH"):
        kept.pop(name, None)
    return kept | changes


def lock_holder(lock: Path) -> psutil.Process | None:
    """Return the process whose pid is in ``lock``; None if it does not run any more."""
    try:
        holder = json.loads(lock.read_bytes())
        process = psutil.Process(holder["pid"])
        # Another process may have the pid now; it has started after the file was written.
        is_holder = process.create_time() <= holder["started_ns"] / 1e9 + 0.1
        if is_holder and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        pass
    return None


class Collector:
    """The collector of one ``base_dir``, whoever started it; every method searches for its process again."""

    def __init__(self, base_dir: Path, state: State | None = None) -> None:
        self.state = state or State.for_base_dir(base_dir)
        self._lock = self.state.lock

    def process(self) -> psutil.Process | None:
        return lock_holder(self._lock)

    def wait_running(self) -> psutil.Process:
        return wait_until(self.process, what=f"a collector holds {self._lock}")

    def wait_ready(self) -> psutil.Process:
        """Wait until it accepts connections."""

        def ready() -> psutil.Process | None:
            process = self.process()
            with contextlib.suppress(OSError, ValueError):
                endpoint = json.loads(self.state.endpoint_file.read_bytes())
                return process if process and endpoint["pid"] == process.pid else None
            return None

        return wait_until(ready, what=f"a collector of {self.state.root} accepts connections")

    def workers(self) -> list[psutil.Process]:
        process = self.process()
        return process.children(recursive=True) if process else []

    def store(self) -> psutil.Process:
        """Return the store's process, which must run."""
        (store,) = self.stores()
        return store

    def stores(self) -> list[psutil.Process]:
        """Return the store's process in a list, which is empty if it does not run."""
        found = []
        for worker in self.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [worker] if "store" in worker.cmdline() else []
        return found

    def kill(self) -> int | None:
        """SIGKILL the collector only; return its pid, None if none runs."""
        process = self.process()
        if process is None:
            return None
        self.end(process)
        return process.pid

    def kill_all(self) -> None:
        """SIGKILL the collector, then its workers."""
        workers = self.workers()
        self.kill()
        for worker in workers:
            self.end(worker)

    def suspend(self) -> None:
        self.wait_running().suspend()

    def resume(self) -> None:
        self.wait_running().resume()

    @staticmethod
    def end(process: psutil.Process) -> None:
        """SIGKILL one process and wait until it has exited; a later process with its pid is not affected."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            wait_until(lambda: not _alive(process), what=f"{process} is gone")


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Clock:
    """The wall clock of Python processes that start with :attr:`environment`, and of their children."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8))
        self._file = file
        self.environment = {"FAULT_CLOCK": str(file), "PYTHONPATH": str(Path(__file__).parent / "clock")}

    def set_offset(self, seconds: float) -> None:
        """Set the offset from the real clock in seconds; negative: behind it."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(int(seconds * 1e9).to_bytes(8, "little", signed=True))


def flip_bit(path: Path, bit: int) -> None:
    """Flip one bit of a file, counted from its start, in place."""
    with path.open("r+b", buffering=0) as file:
        file.seek(bit // 8)
        byte = file.read(1)
        file.seek(bit // 8)
        file.write(flipped(byte, bit % 8))


def flipped(data: bytes, bit: int) -> bytes:
    """Return ``data`` with one bit flipped."""
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


@contextlib.contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    """Suspend the process for the length of the block; resume it even if the block raises."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

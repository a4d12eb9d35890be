"""What every fault test needs: waiting, exact kills of collectors, damaged files.

Nothing here kills by name: only what a test started, or what holds the lock of the test's own
``base_dir``. Processes are started through the ``keeper`` fixture, see ``keeper.py``.
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
    """Return how often to do it: ``short`` in ``make test``, ``long`` in ``make faults``."""
    return long if LONG else short


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without what would change a run's identity, and with changes."""
    ours = ("NTRACK_", "SLURM_", "PMIX_", "OMPI_", "TORCHELASTIC_", "FAULT")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PYTHONPATH"):
        kept.pop(name, None)
    return kept | changes


def lock_holder(lock: Path) -> psutil.Process | None:
    """Return the process that wrote itself into ``lock``, if it still lives and is the one that wrote."""
    try:
        told = json.loads(lock.read_bytes())
        process = psutil.Process(told["pid"])
        # A pid may have been given to another process since; that one began after the file was written.
        if process.create_time() <= told["started_ns"] / 1e9 + 0.1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        pass
    return None


class Collector:
    """The collector of one ``base_dir``, whoever started it; every method looks it up anew."""

    def __init__(self, base_dir: Path, state: State | None = None) -> None:
        self.state = state or State.for_base_dir(base_dir)
        self._lock = self.state.lock

    def process(self) -> psutil.Process | None:
        return lock_holder(self._lock)

    def wait_running(self) -> psutil.Process:
        return wait_until(self.process, what=f"a collector holds {self._lock}")

    def wait_ready(self) -> psutil.Process:
        """Wait until it can be connected to."""

        def ready() -> psutil.Process | None:
            process = self.process()
            with contextlib.suppress(OSError, ValueError):
                told = json.loads(self.state.endpoint_file.read_bytes())
                return process if process and told["pid"] == process.pid else None
            return None

        return wait_until(ready, what=f"a collector of {self.state.root} can be connected to")

    def workers(self) -> list[psutil.Process]:
        process = self.process()
        return process.children(recursive=True) if process else []

    def store(self) -> psutil.Process:
        """The store's process, which must be there."""
        (store,) = self.stores()
        return store

    def stores(self) -> list[psutil.Process]:
        """The store's process, if it is there."""
        found = []
        for worker in self.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [worker] if "store" in worker.cmdline() else []
        return found

    def kill(self) -> int | None:
        """SIGKILL the collector only; return its pid, None where there was none."""
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
        """SIGKILL one process and wait until it is gone; no other process with its pid is touched."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            wait_until(lambda: not _alive(process), what=f"{process} is gone")


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Clock:
    """The wall clock of Python processes started with :attr:`environment`, and of what they start."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8))
        self._file = file
        self.environment = {"FAULT_CLOCK": str(file), "PYTHONPATH": str(Path(__file__).parent / "clock")}

    def set_off(self, seconds: float) -> None:
        """Make it go so much ahead of the real one, or behind."""
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
    """SIGSTOP for the length of the block; SIGCONT also when it raises."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

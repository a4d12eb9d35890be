"""Processes for fault tests: trainers that say how far they got, collectors, and their exact ends.

Nothing here kills by name: only what a test started, or what holds the lock of the test's own
``base_dir``.
"""

import contextlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from neural.tracking.state import State
from tests.faults.disks import Disk, bound_disk, small_disk

LONG = os.environ.get("FAULTS") == "long"
SLOTS = 64

T = TypeVar("T")


def rounds(short: int, long: int) -> int:
    """Return how often to do it: ``short`` in ``make test``, ``long`` in ``make faults``."""
    return long if LONG else short


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Return the first true value of ``condition``.

    Raises:
        AssertionError: it stayed false for ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.002
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what or condition}"
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)
    return value


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without what would change a run's identity, and with changes."""
    ours = ("NTRACK_", "SLURM_", "PMIX_", "OMPI_", "TORCHELASTIC_", "FAULT")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PYTHONPATH"):
        kept.pop(name, None)
    return kept | changes


# Runs before a trainer's own lines. `returned` outlives SIGKILL: it is a shared mapping, and one aligned
# store of 8 bytes, so a reader sees the old number or the new.
_PRELUDE = """
import mmap as _mmap, os as _os, sys as _sys, pathlib as _pathlib
base_dir = _pathlib.Path(_sys.argv[1])
with open(_sys.argv[2], "r+b") as _file:
    returned = memoryview(_mmap.mmap(_file.fileno(), 0)).cast("q")
def ready():
    returned[{ready}] = 1
def wait_for_go():
    import time
    while not returned[{go}]:
        time.sleep(0.002)
"""
_READY, _GO = SLOTS - 1, SLOTS - 2


class Trainer:
    """A training process of its own: ``body`` is the source of its script.

    The script finds ``base_dir``, the array ``returned`` of whole numbers (0 at first), ``ready()`` and
    ``wait_for_go()``. It writes, after each call that returned, how many did: ``returned[0] = i + 1``;
    further slots, up to 61, are for its threads or children. A kill can fall between a call's return and
    that line, so one more event than told may be stored.
    """

    def __init__(
        self,
        base_dir: Path,
        body: str,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        number = len(list(folder.glob("trainer-*.py")))
        self.script = folder / f"trainer-{number}.py"
        self.script.write_text(_PRELUDE.format(ready=_READY, go=_GO) + "\n" + body)
        channel = folder / f"trainer-{number}.returned"
        channel.write_bytes(bytes(8 * SLOTS))
        with channel.open("r+b") as file:
            self._channel = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._output = folder / f"trainer-{number}.out"
        with self._output.open("wb") as out:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-P", str(self.script), str(base_dir), str(channel)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean_environment(**(environment or {})),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """What it printed so far, errors too."""
        return self._output.read_text(errors="replace")

    def returned(self, slot: int = 0) -> int:
        """Return how many calls have returned, as far as it said."""
        return self._channel[slot]

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        self._wait(lambda: self._channel[_READY] != 0, timeout_s, "the trainer is ready")

    def go(self) -> None:
        """Release it from ``wait_for_go()``."""
        self._channel[_GO] = 1

    def wait_returned(self, count: int, slot: int = 0, timeout_s: float = 20.0) -> None:
        self._wait(lambda: self._channel[slot] >= count, timeout_s, f"{count} calls have returned")

    def wait(self, timeout_s: float = 30.0) -> int:
        """Return its exit code; negative is a signal's number."""
        return self.process.wait(timeout_s)

    def succeed(self, timeout_s: float = 30.0) -> None:
        """Wait for its end, which must be a good one."""
        code = self.wait(timeout_s)
        assert code == 0, f"the trainer left with {code}:\n{self.output}"

    def kill(self) -> int:
        """SIGKILL; return how many calls it said had returned in slot 0."""
        self.process.kill()
        self.process.wait(10)
        return self.returned()

    def kill_within(self, least_s: float, most_s: float, random_source: random.Random) -> int:
        """SIGKILL at a random moment of that window from now; return as :meth:`kill`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(random_source.uniform(least_s, most_s))
        return self.kill()

    def suspend(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        def reached() -> bool:
            if condition():
                return True
            code = self.process.poll()
            assert code is None, f"the trainer left with {code} before {what}:\n{self.output}"
            return False

        try:
            wait_until(reached, timeout_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None


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
        self._lock = (state or State.for_base_dir(base_dir)).lock

    def process(self) -> psutil.Process | None:
        return lock_holder(self._lock)

    def wait_running(self, timeout_s: float = 15.0) -> psutil.Process:
        return wait_until(self.process, timeout_s, f"a collector holds {self._lock}")

    def workers(self) -> list[psutil.Process]:
        process = self.process()
        return process.children(recursive=True) if process else []

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


class Keeper:
    """Starts processes and mounts disks for one test, and ends exactly those at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._popen: list[subprocess.Popen[bytes]] = []
        self._base_dirs: list[tuple[Path, Path]] = []
        self._mounts = contextlib.ExitStack()

    def small_disk(self, path: Path, size_bytes: int, *, inodes: int | None = None) -> Disk:
        """Mount a tmpfs of that size; see :func:`tests.faults.disks.small_disk`."""
        return self._mounts.enter_context(small_disk(path, size_bytes, inodes=inodes))

    def bound_disk(self, path: Path, *, read_only: bool = True) -> Disk:
        """Mount a folder over itself; see :func:`tests.faults.disks.bound_disk`."""
        return self._mounts.enter_context(bound_disk(path, read_only=read_only))

    def trainer(
        self,
        base_dir: Path,
        body: str,
        *,
        disk: Disk | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Trainer:
        """Start a :class:`Trainer`, inside ``disk`` where given; a collector that it starts is ended too."""
        self.collector_of(base_dir, disk)
        inside = [*(disk.enter if disk else ()), *prefix]
        trainer = Trainer(base_dir, body, self._folder, environment=environment, prefix=inside)
        self._popen.append(trainer.process)
        return trainer

    def start(
        self,
        command: Sequence[str | Path],
        *,
        disk: Disk | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start any command; its output goes to the file that :meth:`output` reads."""
        inside = [*(disk.enter if disk else ()), *command]
        with (self._folder / f"process-{len(self._popen)}.out").open("wb") as out:
            process = subprocess.Popen(
                [str(word) for word in inside],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean_environment(**(environment or {})),
            )
        self._popen.append(process)
        return process

    def output(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process of :meth:`start` printed so far."""
        number = self._popen.index(process)
        return (self._folder / f"process-{number}.out").read_text(errors="replace")

    def collector_of(self, base_dir: Path, disk: Disk | None = None) -> Collector:
        """Return the collector of a folder, to be ended with the test."""
        seen_from_here = disk.outside(base_dir) if disk else base_dir
        self._base_dirs.append((seen_from_here, base_dir))
        return Collector(seen_from_here)

    def end(self) -> None:
        """End what was started: collectors last, since those that live may start one."""
        for popen in self._popen:
            if popen.poll() is None:
                for child in _descendants(popen.pid):
                    Collector.end(child)
                popen.kill()
                popen.wait(10)
        for seen_from_here, base_dir in dict.fromkeys(self._base_dirs):
            with contextlib.suppress(OSError):
                Collector(seen_from_here).kill_all()
            for process in _started_for(base_dir):
                Collector.end(process)
        self._mounts.close()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _started_for(base_dir: Path) -> list[psutil.Process]:
    """Return processes with exactly this folder in their command line: those that hold no lock yet."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and str(base_dir) in (process.info["cmdline"] or ())
    ]


@contextlib.contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    """SIGSTOP for the length of the block; SIGCONT also when it raises."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

"""Starts the processes of one test, mounts its disks, and ends only these."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.faults.disks import Disk, bound_disk, small_disk
from tests.faults.harness import Collector, clean_environment
from tests.faults.trainer import Trainer


class Keeper:
    """Starts processes and mounts disks for one test; at the end of the test it ends only these."""

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
        """Start a :class:`Trainer`, inside ``disk`` if given. A collector that it starts ends with the test."""
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

    def run_collector(
        self,
        base_dir: Path,
        *arguments: str,
        disk: Disk | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a collector as our own child, so that its exit code can be read. It may not be ready yet."""
        self.collector_of(base_dir, disk)
        module = [sys.executable, "-P", "-m", "neural.tracking.collector", "run"]
        command = [*prefix, *module, "--base-dir", str(base_dir), *arguments]
        return self.start(command, disk=disk, environment=environment)

    def output(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process of :meth:`start` printed so far."""
        number = self._popen.index(process)
        return (self._folder / f"process-{number}.out").read_text(errors="replace")

    def collector_of(self, base_dir: Path, disk: Disk | None = None) -> Collector:
        """Return the collector of a folder, which ends with the test."""
        host_path = disk.outside(base_dir) if disk else base_dir
        self._base_dirs.append((host_path, base_dir))
        return Collector(host_path)

    def end(self) -> None:
        """End all started processes. Collectors are last, because a running training process may start one."""
        for popen in self._popen:
            if popen.poll() is None:
                for child in _descendants(popen.pid):
                    Collector.end(child)
                popen.kill()
                popen.wait(120)
        for host_path, base_dir in dict.fromkeys(self._base_dirs):
            with contextlib.suppress(OSError):
                Collector(host_path).kill_all()
            for process in _started_for(base_dir):
                Collector.end(process)
        self._mounts.close()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _started_for(base_dir: Path) -> list[psutil.Process]:
    """Return the processes with exactly this folder in their command line: some may not hold the lock yet."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and str(base_dir) in (process.info["cmdline"] or ())
    ]

"""Artifacts: the cost of a call compared with ``shutil.copyfile`` of the same file, and the collector's work.

Run as ``python benchmarks/artifacts.py [--mib N] [--rounds N] [--json]``; it needs six times N MiB on the disk
and removes its files at the end. Without reflinks (ext4) a call copies the file. With reflinks (btrfs, XFS),
with ``move=True`` and with ``snapshot=False`` it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from _measure import Row, percentile, report
from _uploads import uploads

from neural.tracking import ArtifactVersion, ExperimentTracker
from neural.tracking.collector import commands
from neural.tracking.collector.artifacts import blobs
from neural.tracking.core import copying, os_support
from neural.tracking.state.paths import State
from neural.tracking.state.spool import size_bytes

MIB = 1 << 20
SMALL_BYTES, SMALL_CALLS = 100 << 10, 200
STORED_S = 600.0


class Memory:
    """The maximum resident memory of some processes, which a thread samples."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = self._now()
        self.peak = dict(self._before)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def growth_mib(self) -> dict[str, float]:
        """Stop sampling; return the growth of each process in MiB."""
        self._done.set()
        self._thread.join()
        return {name: (self.peak[name] - self._before[name]) / MIB for name in self.peak}

    def _now(self) -> dict[str, int]:
        return {name: process.memory_info().rss for name, process in self._processes.items()}

    def _sample(self) -> None:
        while not self._done.wait(0.02):
            for name, rss in self._now().items():
                self.peak[name] = max(self.peak[name], rss)


def timed_s(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how many seconds the action takes by the clock."""
    began = clock()
    action()
    return clock() - began


def stored(version: ArtifactVersion) -> ArtifactVersion:
    """Wait until the version is stored, and return it; end the benchmark if it is lost or takes too long."""
    if not version.wait(STORED_S):
        raise SystemExit(f"{version.artifact_name} was not stored: {version.lost}")
    return version


def fill(path: Path, size_mib: int) -> Path:
    """Create a file of random bytes, synced to the disk."""
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    return path


def shares_blocks(source: Path) -> bool:
    """Return whether the file system has reflinks."""
    with source.open("rb") as file, source.with_name("clone").open("wb") as clone:
        shared = os_support.reflink(file.fileno(), clone.fileno())
    source.with_name("clone").unlink()
    return shared


def calls(tracker: ExperimentTracker, source: Path, rounds: int) -> Iterator[Row]:
    """Yield the time of calls with a large file, compared with copies of the same file."""
    copies, logged = [], []
    target = source.with_name("copy")
    for number in range(rounds + 1):
        os.sync()  # so that neither time includes earlier writes
        copies.append(timed_s(lambda: shutil.copyfile(source, target)))
        target.unlink()
        os.sync()
        versions: list[ArtifactVersion] = []
        logged.append(timed_s(lambda made=versions: made.append(tracker.log_artifact(source, "large"))))
        stored(versions[0])
        if number == 0:  # the first round loads the source and modules into memory
            copies.clear()
            logged.clear()
    copy_s, call_s = statistics.median(copies), statistics.median(logged)
    size = f"{source.stat().st_size // MIB} MiB"
    yield Row(f"shutil.copyfile, {size}", copy_s * 1000, "ms")
    if shares_blocks(source):
        yield Row(f"log_artifact, {size}, reflink", call_s * 1000, "ms", 5)
    else:
        yield Row(f"log_artifact, {size}", call_s * 1000, "ms")
        yield Row("that call / copyfile", call_s / copy_s, "x", 1.2)
    left: list[ArtifactVersion] = []
    in_place_s = timed_s(lambda: left.append(tracker.log_artifact(source, "left", snapshot=False)))
    stored(left[0])
    yield Row(f"log_artifact, {size}, snapshot=False", in_place_s * 1000, "ms", 5)
    given = source.with_name("given")
    shutil.copyfile(source, given)
    moved_s = timed_s(lambda: left.append(tracker.log_artifact(given, "given", move=True)))
    stored(left[1])
    yield Row(f"log_artifact, {size}, move=True", moved_s * 1000, "ms", 5)


def beside_storing(tracker: ExperimentTracker, source: Path) -> Iterator[Row]:
    """Yield the time until a metric is stored and visible, at rest and while the file is stored."""
    session = tracker._recorder.session
    assert session is not None

    def round_trip() -> None:
        tracker.log_metrics({"loss": 1.0})
        session.flush(STORED_S)

    idle = sorted(timed_s(round_trip) for _ in range(40))
    version = tracker.log_artifact(source, "beside")
    meanwhile = []
    while not version.wait(0.0):
        meanwhile.append(timed_s(round_trip))
    yield Row("metric to run folder, at rest, p50", percentile(idle, 0.5) * 1000, "ms")
    if meanwhile:
        note = f"{len(meanwhile)} round trips"
        yield Row(
            "the same while it is stored, p50", percentile(sorted(meanwhile), 0.5) * 1000, "ms", note=note
        )


def small_calls(tracker: ExperimentTracker, folder: Path) -> Iterator[Row]:
    """Yield the time of a call with a small file."""
    source = folder / "small"
    source.write_bytes(os.urandom(SMALL_BYTES))
    taken = []
    for _ in range(SMALL_CALLS):
        taken.append(timed_s(lambda: tracker.log_artifact(source)))
        time.sleep(0.002)
    tracker.flush(STORED_S)
    taken.sort()
    copies = sorted(timed_s(lambda: shutil.copyfile(source, folder / "small copy")) for _ in range(SMALL_CALLS))
    yield Row("shutil.copyfile, 100 KiB, p50", percentile(copies, 0.5) * 1000, "ms")
    yield Row("log_artifact, 100 KiB, p50", percentile(taken, 0.5) * 1000, "ms", 1)
    yield Row("log_artifact, 100 KiB, p99", percentile(taken, 0.99) * 1000, "ms")


def repeated(base_dir: Path, source: Path) -> Iterator[Row]:
    """Yield the disk and memory that five identical saves use, in a run of their own."""
    with ExperimentTracker("repeated", base_dir) as tracker:
        stored(tracker.log_artifact(source))
        pid = commands.status(base_dir)["pid"]
        memory = Memory({"training process": os.getpid(), "collector": pid})
        for _ in range(4):
            stored(tracker.log_artifact(source))
        growth = memory.growth_mib()
    kept = {path.stat().st_ino: path.stat().st_size for path in tracker.experiment_dir.rglob("v*_*")}
    taken = sum(kept.values()) + size_bytes(State.for_base_dir(base_dir).spool)
    yield Row("five identical saves, disk", taken / source.stat().st_size, "x file", 1.01)
    for name, grown in growth.items():
        yield Row(f"five identical saves, {name} grows", grown, "MiB", 64)


def storing(folder: Path, source: Path, rounds: int) -> Iterator[Row]:
    """Yield the collector's speed compared with plain hashing, and with ``cp`` and fsync."""
    ours, plain, stores, copies = [], [], [], []
    place = folder / "blobs"
    place.mkdir()
    for number in range(rounds):
        with source.open("rb") as file:
            plain.append(timed_s(lambda opened=file: hashlib.file_digest(opened, "sha256"), time.thread_time))
            ours.append(timed_s(lambda opened=file: copying.digest(opened.fileno()), time.thread_time))
        with unsynced(source, folder / f"spooled-{number}") as spooled:
            stores.append(timed_s(lambda path=spooled: store(path, place)))
        with unsynced(source, folder / "copied") as copied:
            copied.unlink()
            copies.append(timed_s(lambda path=copied: copy_and_sync(source, path)))
    copy_s, store_s = statistics.median(copies), statistics.median(stores)
    hash_ratio = min(plain) / min(ours)
    yield Row("SHA-256 / hashlib.file_digest, CPU speed", hash_ratio, "x", least=0.9)
    yield Row(f"cp and fsync, {source.stat().st_size // MIB} MiB", copy_s, "s")
    yield Row("hash, fsync and store", store_s, "s")
    yield Row("storing / cp and fsync, speed", copy_s / store_s, "x", least=0.5)


@contextmanager
def unsynced(source: Path, path: Path) -> Iterator[Path]:
    """Copy the file as a call does into the spool: the bytes are in memory and not synced to the disk."""
    shutil.copyfile(source, path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def store(path: Path, place: Path) -> None:
    """Store a spooled file as the artifact store does; remove the blob, so that it is new each time."""
    with path.open("rb") as file:
        staged = blobs.stage(file.fileno(), path, place / ".tmp-x", copying.nothing)
    blob = blobs.add(place, staged, copying.nothing)
    blob.unlink()


def copy_and_sync(source: Path, target: Path) -> None:
    """Copy as ``cp`` does, and sync to the disk."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def main() -> int:
    """Measure, print the figures, remove the files, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="the folder; default: the system's one for temporary files")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ntrack-artifacts-", dir=given.dir))
    base_dir = folder / "runs"
    rows: list[Row] = []
    try:
        source = fill(folder / "source", given.mib)
        with ExperimentTracker("bench", base_dir) as tracker:
            rows += small_calls(tracker, folder)
            rows += calls(tracker, source, given.rounds)
            rows += beside_storing(tracker, source)
        rows += repeated(base_dir, source)
        rows += storing(folder, source, given.rounds)
        rows += uploads(folder, source)
    finally:
        commands.stop(base_dir)
        shutil.rmtree(folder)
    return report("artifacts", rows, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())

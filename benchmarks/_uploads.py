"""Measures what uploads over TCP cost a training and other uploads: part of ``artifacts.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from _measure import Row, percentile

from neural.tracking.collector import commands
from neural.tracking.core.files import read_json
from neural.tracking.remote import keys
from neural.tracking.state import spool
from neural.tracking.state.paths import State

MIB = 1 << 20
IDLE_S, PAUSE_S, LONGEST_S = 5.0, 0.001, 300.0
TOGETHER, SMALL_BYTES = 5, 100 << 10


def uploads(folder: Path, source: Path) -> Iterator[Row]:
    """Yield the time of ``log_metrics`` during an upload of ``source``, and of five uploads at once."""
    with remote_collector(folder) as environment:
        idle_us, busy_us, took_s = run_script(environment, "beside", folder / "local", source)
        slowest, fastest, small_s = run_script(environment, "together", folder / "local", source)
    size = f"{source.stat().st_size // MIB} MiB"
    yield Row(f"upload of {size} over TCP, one host", source.stat().st_size / MIB / took_s, "MiB/s")
    yield Row("log_metrics, one a ms, p99", idle_us, "us")
    yield Row("log_metrics during the upload, p99", busy_us, "us")
    yield Row("that / idle", busy_us / idle_us, "x", 2)
    fifth = f"{source.stat().st_size // TOGETHER // MIB} MiB"
    yield Row(f"{TOGETHER} uploads of {fifth} started together, slowest / fastest", slowest / fastest, "x", 1.5)
    yield Row("100 KiB logged meanwhile, until the collector has it", small_s, "s")
    yield Row("that / the large ones' time", small_s / slowest, "x", 0.25)


@contextmanager
def remote_collector(folder: Path) -> Iterator[dict[str, str]]:
    """Run a collector that listens on TCP; yield the environment of a training that it admits."""
    base_dir, user = folder / "remote", folder / "keys"
    state = State.for_base_dir(base_dir)
    base_dir.mkdir()
    state.make()
    ours, theirs = keys.Pair.make(), keys.Pair.make()
    keys.write_pair(state.keys / keys.COLLECTOR_SECRET, theirs)
    keys.write_list(state.keys / keys.ALLOWED, {"bench": ours.public})
    keys.write_pair(user / keys.CLIENT_SECRET, ours)
    try:
        commands.start(base_dir, listen="tcp://127.0.0.1:0")
        address = read_json(state.endpoint_file)["remote"]
        keys.write_list(user / keys.COLLECTORS, {address.removeprefix("tcp://"): theirs.public})
        yield {**os.environ, "NTRACK_COLLECTOR": address, "NTRACK_KEYS": str(user)}
    finally:
        commands.stop(base_dir)


def run_script(environment: dict[str, str], what: str, base_dir: Path, source: Path) -> list[float]:
    """Run one of the trainings below in a process of its own; return the figures that it prints."""
    command = [sys.executable, __file__, what, str(base_dir), str(source)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def beside(base_dir: Path, source: Path) -> None:
    """Log one call a millisecond, alone, then during an upload; print both p99 and the upload's seconds."""
    from neural.tracking import ExperimentTracker

    tracker = ExperimentTracker("beside", base_dir)
    log(tracker.log_metrics, lambda began: time.monotonic() - began < 1.0)
    idle = log(tracker.log_metrics, lambda began: time.monotonic() - began < IDLE_S)
    remote_spool = State.for_base_dir(base_dir).remote_spool
    tracker.log_artifact(source, "large")
    began = time.monotonic()
    busy = log(tracker.log_metrics, lambda began: bool(spool.waiting(remote_spool)))
    took_s = time.monotonic() - began
    if not tracker.finish(timeout=60):
        raise SystemExit("not everything was stored")
    print(percentile(idle, 0.99), percentile(busy, 0.99), took_s)


def together(base_dir: Path, source: Path) -> None:
    """Log five equal files at once, later a small one; print the seconds of slowest, fastest and small one."""
    from neural.tracking import ExperimentTracker

    parts = [base_dir.parent / f"part-{number}" for number in range(TOGETHER)]
    with source.open("rb") as whole:
        for path in parts:
            path.write_bytes(whole.read(source.stat().st_size // TOGETHER))
    small = base_dir.parent / "small"
    small.write_bytes(os.urandom(SMALL_BYTES))
    tracker = ExperimentTracker("together", base_dir)
    remote_spool = State.for_base_dir(base_dir).remote_spool
    began = time.monotonic()
    large = [tracker.log_artifact(path, move=True).token for path in parts]  # a move is fast: all start at once
    time.sleep(0.5)
    small_began = time.monotonic()
    late = tracker.log_artifact(small).token
    taken: dict[str, float] = {}
    while len(taken) < TOGETHER + 1 and time.monotonic() - began < LONGEST_S:
        waiting = {entry.name for entries in spool.waiting(remote_spool).values() for entry in entries}
        for token in {*large, late} - waiting - taken.keys():
            taken[token] = time.monotonic() - (small_began if token == late else began)
        time.sleep(0.002)
    if not tracker.finish(timeout=60):
        raise SystemExit("not everything was stored")
    of_large = sorted(taken[token] for token in large)
    print(of_large[-1], of_large[0], taken[late])


def log(log_metrics: Callable[..., bool], continues: Callable[[float], bool]) -> list[float]:
    """Log while ``continues``, checked every 100 calls; return the calls' microseconds, sorted."""
    taken: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < LONGEST_S:
        if len(taken) % 100 == 0 and not continues(began):
            break
        start = time.perf_counter_ns()
        log_metrics({"loss": 0.5, "accuracy": 0.9, "rate": 0.1}, step=len(taken))
        taken.append((time.perf_counter_ns() - start) / 1000)
        time.sleep(PAUSE_S)
    return sorted(taken)


if __name__ == "__main__":
    {"beside": beside, "together": together}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))

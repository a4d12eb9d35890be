"""What an upload over TCP costs the training beside it: part of ``artifacts.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from _measure import Row, percentile

from neural.tracking.artifacts import spool
from neural.tracking.collector import commands
from neural.tracking.files import read_json
from neural.tracking.remote import keys
from neural.tracking.state import State

MIB = 1 << 20
IDLE_S, PAUSE_S, LONGEST_S = 5.0, 0.001, 300.0


def uploads(folder: Path, source: Path) -> Iterator[Row]:
    """Yield the latency of ``log_metrics`` before and during an upload, in a process of its own."""
    base_dir, user = folder / "far", folder / "keys"
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
        environment = {**os.environ, "NTRACK_COLLECTOR": address, "NTRACK_KEYS": str(user)}
        command = [sys.executable, __file__, str(folder / "near"), str(source)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        idle_us, busy_us, took_s = map(float, done.stdout.split())
    finally:
        commands.stop(base_dir)
    size = f"{source.stat().st_size // MIB} MiB"
    yield Row(f"upload of {size} over TCP, one host", source.stat().st_size / MIB / took_s, "MiB/s")
    yield Row("log_metrics, one a ms, p99", idle_us, "us")
    yield Row("log_metrics during the upload, p99", busy_us, "us")
    yield Row("that / idle", busy_us / idle_us, "x", 2)


def training(base_dir: Path, source: Path) -> None:
    """Log one call a millisecond, first alone, then beside an upload; print both p99 and its seconds."""
    from neural.tracking import ExperimentTracker

    tracker = ExperimentTracker("beside", base_dir)
    log(tracker.log_metrics, lambda began: time.monotonic() - began < 1.0)
    idle = log(tracker.log_metrics, lambda began: time.monotonic() - began < IDLE_S)
    waits_in = State.for_base_dir(base_dir).remote_spool
    tracker.log_artifact(source, "large")
    began = time.monotonic()
    busy = log(tracker.log_metrics, lambda began: bool(spool.waiting(waits_in)))
    took_s = time.monotonic() - began
    if not tracker.finish(timeout=60):
        raise SystemExit("not everything was stored")
    print(percentile(idle, 0.99), percentile(busy, 0.99), took_s)


def log(log_metrics: Callable[..., bool], goes_on: Callable[[float], bool]) -> list[float]:
    """Log until it is to end, asked every 100 calls; return the calls' microseconds, sorted."""
    taken: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < LONGEST_S:
        if len(taken) % 100 == 0 and not goes_on(began):
            break
        start = time.perf_counter_ns()
        log_metrics({"loss": 0.5, "accuracy": 0.9, "rate": 0.1}, step=len(taken))
        taken.append((time.perf_counter_ns() - start) / 1000)
        time.sleep(PAUSE_S)
    return sorted(taken)


if __name__ == "__main__":
    training(Path(sys.argv[1]), Path(sys.argv[2]))

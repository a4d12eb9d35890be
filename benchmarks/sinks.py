"""Sinks: speed compared with the backend's own fastest call, a worker's memory, the effect of a stalled sink.

Run as ``python benchmarks/sinks.py [--points N] [--stall S] [--json]``. It leaves out backends that are not
installed. A delivery is all that the worker does, from the log's batches to a flush, in this process. Both
times start when a new run is created in the backend, and end when the backend has everything. Packages are
imported before, and services and databases that several runs share exist already.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _measure import Row, percentile, report
from read import batches, noise

from neural.tracking import ExperimentTracker
from neural.tracking.collector import commands
from neural.tracking.collector.delivery.applier import SinkApplier
from neural.tracking.collector.log.items import LoggedSession
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State

NAMES = ("train/loss", "train/accuracy", "grad/norm", "learning_rate")
ROUNDS = 3  # of each, in turn, so that other load on the machine slows both equally
STARTED_NS = 1_700_000_000_000_000_000


def deliver(folder: Path, kind: str, calls: int, **options: Any) -> float:
    """Deliver a run's calls through a sink's worker; return the seconds from the first batch to the flush."""
    folder.mkdir(parents=True, exist_ok=True)
    state = State(base_dir=folder, root=folder / ".ntrack")
    state.make()
    applier = SinkApplier(SinkConfig(kind, kind, options=options), state)
    applier.open()
    info = {"name": "bench", "dir": "bench_0", "rank": 0, "attempt": 1, "opened_ns": STARTED_NS}
    session = LoggedSession(secrets.token_bytes(16), secrets.token_bytes(16), info, schemas={1: NAMES})
    warm = LoggedSession(secrets.token_bytes(16), secrets.token_bytes(16), info, schemas={1: NAMES})
    for batch in batches(warm, NAMES, 10, noise):  # for imports, connections and the tables of a database
        applier.write([batch])
    applier.flush()
    began = time.perf_counter()
    for batch in batches(session, NAMES, calls, noise):
        applier.write([batch])
    applier.flush()
    took = time.perf_counter() - began
    applier.close()
    return took


def tensorboard_itself(folder: Path, calls: int) -> float:
    """Write the same points with TensorBoard's own event writer."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    values = np.random.default_rng(7).standard_normal((calls, len(NAMES))).tolist()
    began = time.perf_counter()
    writer = EventFileWriter(str(folder), max_queue_size=1000)
    for step, row in enumerate(values):
        points = [Summary.Value(tag=name, simple_value=v) for name, v in zip(NAMES, row, strict=True)]
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
    writer.flush()
    took = time.perf_counter() - began
    writer.close()
    return took


def mlflow_itself(folder: Path, calls: int) -> float:
    """Log the same points with ``log_batch`` of 1,000 into a database of the same kind."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    values = np.random.default_rng(7).standard_normal((calls, len(NAMES))).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment(secrets.token_hex(4), artifact_location=str(folder / "a"))
    warm_id = client.create_run(experiment).info.run_id
    client.log_batch(warm_id, metrics=[Metric("warm", 0.0, 0, 0)])
    began = time.perf_counter()
    run_id = client.create_run(experiment).info.run_id
    batch: list[Metric] = []
    for step, row in enumerate(values):
        now_ms = STARTED_NS // 10**6 + step
        batch += [Metric(name, v, now_ms, step) for name, v in zip(NAMES, row, strict=True)]
        if len(batch) >= 1000:
            client.log_batch(run_id, metrics=batch)
            batch = []
    if batch:
        client.log_batch(run_id, metrics=batch)
    return time.perf_counter() - began


def wandb_itself(folder: Path, calls: int) -> float:
    """Log the same rows with ``run.log`` in a loop, offline; the time includes the opening of the run."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # as the sink does: W&B's own metrics would cost each call
    import wandb

    values = np.random.default_rng(7).standard_normal((calls, len(NAMES))).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True)
    began = time.perf_counter()
    run = wandb.init(project="bench", mode="offline", dir=str(folder), reinit="create_new", settings=settings)
    for step, row in enumerate(values):
        run.log(dict(zip(NAMES, row, strict=True)), step=step)
    run.finish()
    wandb.teardown()
    return time.perf_counter() - began


ITSELF: dict[str, tuple[Callable[[Path, int], float], float, dict[str, Any]]] = {
    "tensorboard": (tensorboard_itself, 1.0, {}),
    "mlflow": (mlflow_itself, 0.4, {}),  # with only this share of the points, because it is slow
    "wandb": (wandb_itself, 1.0, {"mode": "offline"}),
}


def rates(base: Path, points: int) -> Iterator[Row]:
    """Yield each backend's own rate, the sink's, and their ratio."""
    for kind, (itself, share, options) in ITSELF.items():
        if importlib.util.find_spec(kind) is None:
            continue
        calls = max(100, int(points * share) // len(NAMES))
        own, ours = [], []
        for number in range(ROUNDS):
            place = base / f"{kind}-{number}"
            own.append(itself(place / "own", calls))
            ours.append(deliver(place / "ours", kind, calls, **options))
        rate = calls * len(NAMES) / min(own), calls * len(NAMES) / min(ours)
        yield Row(f"{kind}: its own fastest call", rate[0], "points/s", note=f"{calls * len(NAMES):,} points")
        yield Row(f"{kind}: the sink", rate[1], "points/s")
        yield Row(f"{kind}: the sink against it", rate[1] / rate[0], "x", least=0.8)


def memory(base: Path, kind: str, points: int) -> None:
    """Print the process's memory after a tenth of the points and after all. Needs a process of its own."""
    process = psutil.Process()
    deliver(base / "a", kind, points // 10 // len(NAMES))
    early = process.memory_info().rss
    deliver(base / "b", kind, points // len(NAMES))
    print(json.dumps([early, process.memory_info().rss]))


def flat(base: Path, points: int) -> Row:
    """Return the growth of a worker's memory over the points."""
    kind = "tensorboard" if importlib.util.find_spec("tensorboard") else "jsonl"
    command = [sys.executable, __file__, "--memory", kind, "--points", str(points), "--base", str(base)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    early, late = json.loads(done.stdout)
    grown = (late - early) / 2**20
    return Row(f"{kind}: a worker's growth over {points:,} points", grown, "MiB", limit=16)


def stalled(base: Path, seconds: float) -> Iterator[Row]:
    """Suspend one sink's worker half of the time; yield the other sink's lag and the times of log calls."""
    (base / ".ntrack").mkdir(parents=True)
    config = "".join(f'[sinks.{n}]\ntype = "jsonl"\nfolder = "{base}/{n}"\n' for n in ("stalled", "running"))
    (base / ".ntrack" / "config.toml").write_text(config)
    state = State.for_base_dir(base)
    calls: dict[bool, list[float]] = {False: [], True: []}
    lags: list[float] = []
    with ExperimentTracker("bench", base_dir=base, auto_visualize=False) as tracker:
        step = 0

        def log_for(duration_s: float, stall: bool) -> None:
            nonlocal step
            until, checked = time.monotonic() + duration_s, time.monotonic()
            while (now := time.monotonic()) < until:
                began = time.perf_counter()
                tracker.log_metrics({"loss": 0.5, "accuracy": 0.5}, step=step)
                calls[stall].append(time.perf_counter() - began)
                step += 1
                if stall and now - checked > 0.5:
                    checked = now
                    lags.append(_lag_s(base / "running"))
                time.sleep(0.001)

        log_for(10.0, False)  # until both sinks deliver
        calls[False].clear()
        # One long stall as requested, then shorter ones; a time without a stall follows each.
        for stall_s in (seconds, 10.0, 10.0):
            pid = _worker_pid(state, "stalled")
            os.kill(pid, signal.SIGSTOP)
            try:
                log_for(stall_s, True)
            finally:
                os.kill(pid, signal.SIGCONT)
            log_for(min(stall_s, 20.0), False)
    for times in calls.values():
        times.sort()
    with_it, without = (percentile(calls[stall], 0.5) * 1e6 for stall in (True, False))
    yield Row(f"one sink stalled {seconds:.0f} s: the other's lag at most", max(lags), "s", limit=2.0)
    yield Row("  a call's p50 meanwhile", with_it, "us")
    yield Row("  a call's p50 otherwise", without, "us")
    yield Row("  ratio of both", with_it / without, "x", limit=1.15)


def _worker_pid(state: State, name: str) -> int:
    """Wait until a sink's worker runs, and return its process id."""
    while True:
        workers = request(state, "status", timeout_s=30)["workers"]
        pid = next((w["pid"] for w in workers if w["name"] == name), None)
        if pid is not None:
            return int(pid)
        time.sleep(0.1)


def _lag_s(folder: Path) -> float:
    """Return the age of the newest event that the sink has delivered; infinite if there is none."""
    with contextlib.suppress(FileNotFoundError, StopIteration, ValueError):
        path = next(folder.glob("*.jsonl"))
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            last = file.read().split(b"\n")[-2]
        return time.time() - json.loads(last)["time_ns"] / 1e9
    return float("inf")


def main() -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000, help="for memory; for rates a tenth of it")
    parser.add_argument("--stall", type=float, default=120.0, help="seconds for which one sink is stalled")
    parser.add_argument("--only", choices=("rates", "memory", "stall"), help="only this part")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.memory:
        memory(given.base, given.memory, given.points)
        return 0
    rows: list[Row] = []
    # A worker that has not exited yet may write a last file into the folder.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        if given.only in (None, "rates"):
            rows += rates(base / "rates", given.points // 10)
        if given.only in (None, "memory"):
            rows.append(flat(base / "memory", given.points))
        if given.only in (None, "stall"):
            try:
                rows += stalled(base / "stalled", given.stall)
            finally:
                commands.stop(base / "stalled")
    return report("sinks (times are jittered)", rows, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())

"""The whole pipeline: events a second to the acknowledgement and into run folders, memory, flush, idle cost.

Run as ``python benchmarks/pipeline.py [--events N] [--only PART] [--json]`` on an idle machine. Every part
asserts that no event was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from _measure import Row, percentile, report

from neural.tracking.agent import choose_run, launch_collector, open_session
from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.reader.run_list import find_run
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base

VALUES = {"loss": 0.25, "accuracy": 0.5, "learning_rate": 0.001}
MIB = 1 << 20


class Watch:
    """Samples memory and CPU of the collector and its workers while a part runs."""

    def __init__(self, base_dir: Path) -> None:
        self._state = State.for_base_dir(base_dir)
        self.series: dict[str, list[int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        found: dict[str, psutil.Process] = {}
        while not self._done.wait(0.1):
            if "store" not in found:  # a search for processes takes long and would slow the measured one
                found = processes(self._state)
            for name, process in found.items():
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.series.setdefault(name, []).append(process.memory_info().rss)

    def peak(self, name: str) -> float:
        """Return the maximum memory of the process in MB; 0 if it was not seen."""
        return max(self.series.get(name, [0])) / MIB


def processes(state: State) -> dict[str, psutil.Process]:
    """Return the collector and its workers by name; empty while none runs."""
    try:
        collector = psutil.Process(json.loads(state.lock.read_bytes())["pid"])
        found = {"collector": collector}
        for child in collector.children():
            words = child.cmdline()
            if "neural.tracking.collector.workers.worker" in words:
                found[words[words.index("neural.tracking.collector.workers.worker") + 1]] = child
        return found
    except (OSError, ValueError, KeyError, psutil.Error):
        return {}


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> None:
    """Wait until the condition is true; end the benchmark if it is not within ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.005)


def start_collector(base_dir: Path) -> None:
    """Start a collector and wait until it answers."""
    state = State.for_base_dir(base_dir)
    state.make()
    launch_collector(state, base_dir)

    def answers() -> bool:
        try:
            return bool(request(state, "ping", timeout_s=0.5)["ok"])
        except CollectorUnreachableError:
            return False

    wait_until(answers, 20, "a collector answers")


def stop_collector(base_dir: Path) -> None:
    """Ask the collector to leave, and wait for it and its workers, 30 s at most."""
    state = State.for_base_dir(base_dir)
    running = list(processes(state).values())
    if running:
        request(state, "stop", timeout_s=30)
        psutil.wait_procs(running, timeout=30)


def sustained(base_dir: Path, events: int) -> Iterator[Row]:
    """Yield the rates of one process that emits as fast as it can: acknowledged, and in the run folder."""
    start_collector(base_dir)
    session = open_session(choose_run("sustained", {}), base_dir)
    wait_until(lambda: session.flush(1), 20, "the session is connected")
    emit, values = session.emit_metrics, VALUES
    with Watch(base_dir) as watch:
        began = time.perf_counter()
        for _ in range(events):
            emit(values)
        emitted_s = time.perf_counter() - began
        wait_until(lambda: session.acknowledged >= events, 600, "all is acknowledged")
        acknowledged_s = time.perf_counter() - began
        if not session.flush(600):
            raise SystemExit("the store did not apply everything in time")
        stored_s = time.perf_counter() - began
        assert session.gaps == []
        session.close("completed", timeout_s=60)
    name = f"{events:,} events of 3 metrics"
    yield Row(f"{name}: emitted", events / emitted_s, "events/s")
    yield Row(f"{name}: acknowledged after the disk sync", events / acknowledged_s, "events/s", least=500_000)
    yield Row(f"{name}: in the run folder", events / stored_s, "events/s", least=300_000)
    yield Row("  collector, peak memory", watch.peak("collector"), "MB", 200.0)
    store = watch.series.get("store", [0])
    thirds = [max(store[i * len(store) // 3 : (i + 1) * len(store) // 3 or 1]) / MIB for i in range(3)]
    note = "in each third " + ", ".join(f"{peak:.0f}" for peak in thirds)
    yield Row("  store, peak memory", watch.peak("store"), "MB", 400.0, note)
    yield check(base_dir)


def check(base_dir: Path) -> Row:
    """Return the number of gaps, plus one if ``verify`` finds an error."""
    verified = verify_base(base_dir)
    sessions = [session for run in verified.runs for session in run.sessions]
    stored = sum(session.stored for session in sessions)
    gaps = sum(len(session.gaps) for session in sessions)
    note = f"{stored:,} stored; verify exits with {verified.exit_code}"
    return Row("  gaps", float(gaps + (verified.exit_code != 0)), "", 0.0, note)


CHILD = """
import sys, time
from pathlib import Path
from neural.tracking.agent import choose_run, open_session
base_dir, sessions, events = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
opened = [open_session(choose_run("outage", {}), base_dir) for _ in range(sessions)]
values = {"loss": 0.25, "accuracy": 0.5, "learning_rate": 0.001}
for i in range(events):
    for session in opened:
        session.emit_metrics(values)
print("emitted", flush=True)
sys.stdin.readline()
for session in opened:
    assert session.flush(300), session.state
    assert session.gaps == []
    session.close("completed", timeout_s=30)
"""


def outage(base_dir: Path, sessions: int, events: int) -> Iterator[Row]:
    """Yield the rate of sessions that emitted while the collector was suspended, and all send at once."""
    start_collector(base_dir)
    collector = processes(State.for_base_dir(base_dir))["collector"]
    collector.send_signal(signal.SIGSTOP)
    children = []
    try:
        for _ in range(8):
            command = [sys.executable, "-c", CHILD, str(base_dir), str(sessions // 8), str(events)]
            children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "emitted\n"
    finally:
        collector.send_signal(signal.SIGCONT)
    with Watch(base_dir) as watch:
        began = time.perf_counter()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        codes = [child.wait(300) for child in children]
        took = time.perf_counter() - began
    if any(codes):
        raise SystemExit("a session was not delivered")
    name = f"{sessions} sessions reconnect, {events:,} events each"
    yield Row(f"{name}: all stored", sessions * events / took, "events/s", None, f"in {took:.1f} s")
    yield Row("  collector, peak memory", watch.peak("collector"), "MB", 300.0)
    yield Row("  store, peak memory", watch.peak("store"), "MB", 400.0)
    yield check(base_dir)


def flush_latency(base_dir: Path, count: int) -> Iterator[Row]:
    """Yield the time from one event until it is in the run folder, with a pause between the events."""
    start_collector(base_dir)
    session = open_session(choose_run("flush", {}), base_dir)
    session.flush(20)
    times = []
    for _ in range(count):
        time.sleep(0.1)
        session.emit_metrics(VALUES)
        began = time.perf_counter()
        assert session.flush(5)
        times.append((time.perf_counter() - began) * 1e3)
    session.close("completed", timeout_s=30)
    times.sort()
    yield Row("flush of one event, idle: p50", percentile(times, 0.5), "ms", 50.0, f"{count} times")
    yield Row("flush of one event, idle: p99", percentile(times, 0.99), "ms")


TRAINING = """
import sys
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("killed", base_dir=sys.argv[1], auto_visualize=False)
tracker.log_metrics({"loss": 1.0}, step=0)
assert tracker.flush(20)
print(tracker.experiment_id, flush=True)
sys.stdin.readline()
"""


def killed(base_dir: Path, count: int) -> Iterator[Row]:
    """Yield the time from the kill of a training until the status of its run is ``failed``."""
    start_collector(base_dir)
    times = []
    for _ in range(count):
        with subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(base_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as training:
            assert training.stdout is not None
            run = training.stdout.readline().strip()
            assert _status(base_dir, run) == "running"
            training.kill()
            began = time.perf_counter()
        wait_until(lambda run=run: _status(base_dir, run) == "failed", 60, "the killed run's status")
        times.append(time.perf_counter() - began)
    yield Row("a killed training is failed", max(times), "s", 5.0, f"the slowest of {count}")


def _status(base_dir: Path, run: str) -> str | None:
    found = find_run(base_dir, run)
    return None if found is None else found.status


def idle(base_dir: Path, seconds: float) -> Iterator[Row]:
    """Yield the CPU and memory of collector and workers while a session is open and idle."""
    start_collector(base_dir)
    session = open_session(choose_run("idle", {}), base_dir)
    session.emit_metrics(VALUES)
    session.flush(20)
    time.sleep(7)  # until the store's periodic work for the last event is over
    found = processes(State.for_base_dir(base_dir))
    before = {name: sum(process.cpu_times()[:2]) for name, process in found.items()}
    time.sleep(seconds)
    used = {name: sum(process.cpu_times()[:2]) - before[name] for name, process in found.items()}
    rss = {name: process.memory_info().rss / MIB for name, process in found.items()}
    session.close("completed", timeout_s=30)
    each = ", ".join(f"{name} {rss[name]:.0f} MB" for name in sorted(rss))
    yield Row("collector and workers, idle: CPU", 100 * sum(used.values()) / seconds, "% core", 0.5)
    yield Row("collector and workers, idle: memory", sum(rss.values()), "MB", 250.0, each)


PARTS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Row]]] = {
    "sustained": lambda folder, given: sustained(folder, given.events),
    "outage": lambda folder, given: outage(folder, 64, given.events // 200),
    "flush": lambda folder, given: flush_latency(folder, 50),
    "killed": lambda folder, given: killed(folder, 5),
    "idle": lambda folder, given: idle(folder, 20.0),
}


def main() -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--only", choices=PARTS, help="only this part")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="the place for the run folders")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: list[Row] = []
    for name, part in PARTS.items():
        if given.only in (None, name):
            folder = Path(tempfile.mkdtemp(prefix="bench-", dir=given.folder))
            try:
                rows += part(folder, given)
            finally:
                stop_collector(folder)
                shutil.rmtree(folder, ignore_errors=True)
    return report("pipeline", rows, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())

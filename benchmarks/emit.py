"""What a log call costs the training: ``python benchmarks/emit.py [--quick] [--json] [--only PART]``.

The figures are those of ``ExperimentTracker.log_metrics`` while its sender thread and a collector work. The
floor is a bare ``time_ns`` and ``struct.pack_into`` of the same values, in the same run and at the same pace.
Each call is measured on its own, so its time includes the clock's cost (about 50 ns).
"""

from __future__ import annotations

import argparse
import gc
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from _measure import Row, fsyncing_process, percentile, report

from neural.tracking import ExperimentTracker
from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State

clock_ns = time.perf_counter_ns
Call = Callable[[int], object]


class Trial:
    """A tracker in a folder of its own, and the floor for the same values."""

    def __init__(self, folder: Path, metrics: int) -> None:
        self.folder = folder
        self.values = {f"metric_{i}": 0.1 * i for i in range(metrics)}
        self.tracker = ExperimentTracker("bench", base_dir=folder)
        self.log(0)
        self.tracker.flush(20)
        self._pack = struct.Struct(f"<Qq{metrics}d").pack_into
        self._buffer = bytearray(64 + 8 * metrics)

    def log(self, step: int) -> None:
        """Log all metrics at a step."""
        self.tracker.log_metrics(self.values, step)

    def calls(self) -> tuple[Call, Call]:
        """Return the log call and its floor, each as a function of the step."""
        log_metrics, values = self.tracker.log_metrics, self.values
        pack, buffer, time_ns = self._pack, self._buffer, time.time_ns

        def floor(step: int) -> None:
            pack(buffer, 0, time_ns(), step, *values.values())

        return lambda step: log_metrics(values, step), floor

    def end(self) -> None:
        """Finish the run; assert that all of it is stored."""
        assert self.tracker.finish(timeout=60), "not everything was stored"


def stop_collector(folder: Path) -> None:
    """Ask the folder's collector to leave, and wait for that, 60 s at most."""
    state = State.for_base_dir(folder)
    try:
        request(state, "stop")
    except CollectorUnreachableError:
        return
    deadline = time.monotonic() + 60
    while state.collector_runs() and time.monotonic() < deadline:
        time.sleep(0.05)


def timed(call: Call, count: int) -> list[int]:
    """Return the sorted times of ``count`` calls, back to back, in ns."""
    times = [0] * count
    for i in range(count):
        started = clock_ns()
        call(i)
        times[i] = clock_ns() - started
    times.sort()
    return times


def back_to_back(folder: Path, quick: bool) -> Iterator[Row]:
    """Yield the times of calls without a pause, for 3 and for 100 metrics."""
    for metrics, p50_limit in ((3, 2.0), (100, 8.0)):
        trial = Trial(folder, metrics)
        call, floor = trial.calls()
        count = (100_000 if quick else 500_000) // (1 if metrics == 3 else 5)
        timed(call, count // 10)
        floors, times = timed(floor, count), timed(call, count)
        floors_after = timed(floor, count)
        base = (percentile(floors, 0.5) + percentile(floors_after, 0.5)) / 2e3
        p50, p99 = percentile(times, 0.5) / 1e3, percentile(times, 0.99) / 1e3
        name = f"{metrics} metrics, back to back"
        yield Row(f"{name}: floor p50", base, "µs")
        yield Row(f"{name}: p50", p50, "µs", p50_limit)
        if metrics == 3:
            yield Row(f"{name}: p50 / floor", p50 / base, "x", 5.0)
            yield Row(f"{name}: p99", p99, "µs", 8.0)
        else:
            yield Row(f"{name}: p99", p99, "µs")
        trial.end()


def paced_times(trial: Trial, seconds: float) -> tuple[list[int], list[int]]:
    """Return the sorted times of call and floor in ns; each runs once a millisecond, half of one apart."""
    call, floor = trial.calls()
    times: list[int] = []
    floors: list[int] = []
    begin = clock_ns()
    for step in range(int(seconds * 1000)):
        for offset, function, into in ((0, call, times), (500_000, floor, floors)):
            wait = begin + step * 1_000_000 + offset - clock_ns()
            if wait > 0:
                time.sleep(wait / 1e9)
            started = clock_ns()
            function(step)
            into.append(clock_ns() - started)
    return sorted(times), sorted(floors)


def paced(folder: Path, quick: bool) -> Iterator[Row]:
    """Yield the times of one call a millisecond, alone and beside a process that syncs all the time."""
    seconds = 5.0 if quick else 60.0
    for beside in (False, True):
        trial = Trial(folder, 3)
        if beside:
            with fsyncing_process(folder):
                times, floors = paced_times(trial, seconds)
        else:
            times, floors = paced_times(trial, seconds)
        name = "one call a ms" + (", beside fsyncs" if beside else "")
        base = percentile(floors, 0.5) / 1e3
        p50 = percentile(times, 0.5) / 1e3
        note = f"{seconds:.0f} s"
        yield Row(f"{name}: floor p50", base, "µs", None, note)
        yield Row(f"{name}: floor p99", percentile(floors, 0.99) / 1e3, "µs")
        yield Row(f"{name}: p50", p50, "µs", 10.0)
        yield Row(f"{name}: p50 / floor", p50 / base, "x", 5.0)
        yield Row(f"{name}: p99", percentile(times, 0.99) / 1e3, "µs", 60.0)
        yield Row(f"{name}: p99.9", percentile(times, 0.999) / 1e3, "µs")
        trial.end()


def constancy(folder: Path, quick: bool) -> Iterator[Row]:
    """Yield whether late calls take longer than early ones, each divided by the floor at the same time."""
    total = 1_000_000 if quick else 10_000_000
    trial = Trial(folder, 3)
    call, floor = trial.calls()
    part = total // 10
    medians, ratios = [], []
    for _ in range(10):
        before = percentile(timed(floor, part // 10), 0.5)
        median = percentile(timed(call, part), 0.5)
        floors = (before + percentile(timed(floor, part // 10), 0.5)) / 2
        medians.append(median / 1e3)
        ratios.append(median / floors)
    yield Row(f"{total:,} calls: p50 of the first tenth", medians[0], "µs")
    yield Row(f"{total:,} calls: p50 of the last tenth", medians[-1], "µs")
    first, last = percentile(sorted(ratios[:5]), 0.5), percentile(sorted(ratios[5:]), 0.5)
    yield Row(f"{total:,} calls: second half / first half", last / first, "x", 1.25, "in floors")
    gaps = trial.tracker._recorder.session.gaps if trial.tracker._recorder.session else []
    yield Row(f"{total:,} calls: gaps", len(gaps), "", 0.0)
    assert trial.tracker.flush(300), "not stored in time"
    trial.end()


def processor_time(folder: Path, quick: bool) -> Iterator[Row]:
    """Yield the CPU time of the whole training process, with its threads."""
    trial = Trial(folder, 3)
    log_metrics, values = trial.tracker.log_metrics, trial.values
    count = 500_000 if quick else 3_000_000
    gc.collect()
    before = time.process_time()
    for step in range(count):
        log_metrics(values, step)
    yield Row("CPU a call, back to back", (time.process_time() - before) / count * 1e6, "µs", 3.0)
    trial.tracker.flush(60)

    seconds = 5 if quick else 20
    before, begin = time.process_time(), time.perf_counter()
    for step in range(seconds * 100):
        time.sleep(max(0.0, begin + step / 100 - time.perf_counter()))
        log_metrics(values, step)
    used = (time.process_time() - before) / (time.perf_counter() - begin)

    before, begin = time.process_time(), time.perf_counter()
    for step in range(seconds * 100):
        time.sleep(max(0.0, begin + step / 100 - time.perf_counter()))
    alone = (time.process_time() - before) / (time.perf_counter() - begin)
    note = f"of a core; {alone * 100:.2f} % of it without a call (the loop itself, the idle sender)"
    yield Row("CPU at 100 calls/s", used * 100, "%", 1.5, note)
    trial.end()


def fresh(script: str, cache: Path, *arguments: object) -> float:
    """Return the median of the ms that a script prints in new interpreters, with compiled modules."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    for _ in range(10):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found.append(float(done.stdout))
    return sorted(found[1:])[4]


_IMPORT = "import time; t = time.perf_counter(); import neural.tracking; print((time.perf_counter() - t) * 1e3)"
_CONSTRUCT = """
import os, sys, time
{before}
started = time.perf_counter()
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("bench", base_dir=sys.argv[1])
print((time.perf_counter() - started) * 1e3, flush=True)
if len(sys.argv) > 2: tracker.finish(timeout=20)
os._exit(0)
"""


def start_up(folder: Path, quick: bool) -> Iterator[Row]:
    """Yield the time of the import and of the first tracker, without and with a collector."""
    cache = folder / "compiled"
    yield Row("import neural.tracking", fresh(_IMPORT, cache), "ms", 50.0)
    alone, beside = folder / "alone", folder / "beside"
    bare = _CONSTRUCT.format(before="")
    yield Row(
        "first tracker, no collector",
        fresh(bare, cache, alone),
        "ms",
        None,
        "imports included; it does not wait",
    )
    stop_collector(alone)
    Trial(beside, 3).end()
    name, note = "first tracker, a collector runs", "imports included"
    yield Row(name, fresh(bare, cache, beside, "finish"), "ms", None, note)
    training = _CONSTRUCT.format(before="import logging, numpy")
    note += ", NumPy and logging are already loaded, as in a training"
    yield Row(name, fresh(training, cache, beside, "finish"), "ms", 20.0, note)
    stop_collector(beside)


PARTS = {
    "calls": back_to_back,
    "paced": paced,
    "constant": constancy,
    "cpu": processor_time,
    "start": start_up,
}


def main() -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 30 s instead of 5 minutes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=PARTS, help="only this part")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            # On a disk, as for a training: on a file system in memory the figures would be too good.
            with tempfile.TemporaryDirectory(prefix="ntrack-bench-", dir=os.environ.get("TMPDIR")) as folder:
                try:
                    rows += part(Path(folder), arguments.quick)
                finally:
                    stop_collector(Path(folder))
    return report("emit", rows, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())

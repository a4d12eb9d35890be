"""Plots: what drawing costs the training, and how long a full set takes from file to PNG.

Run as ``python benchmarks/visualize.py [--rounds 7] [--seconds 10] [--sets 100] [--rank-points N]``. A pair
logs once with and once without automatic plots, each in a new process with a collector of its own. The store
itself writes the runs that are drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from _measure import Row, percentile, report
from read import losses, store

from neural.tracking.collector.commands import stop
from neural.tracking.collector.visualizer.renderer_process import renderer_command

CALL_P50_LIMIT, CALL_P99_LIMIT = 1.10, 1.25
SET_LIMIT_S, GROWTH_LIMIT = 2.0, 1.5
MEMORY_LIMIT_MB = 500.0
FLAT_LIMIT = 1.05  # the memory of the last rounds, divided by that of the tenth
METRICS = 10


def log_calls(base_dir: str, calls: int, pause_s: float, auto: bool) -> None:
    """Log as a training does, and print p50 and p99 of the calls in ns."""
    from neural.tracking import ExperimentTracker

    tracker = ExperimentTracker("timed", base_dir, auto_visualize=auto)
    values = {f"metric_{i}": 0.5 + i for i in range(METRICS)}
    log, clock = tracker.log_metrics, time.perf_counter_ns
    taken = []
    for step in range(calls):
        start = clock()
        log(values, step)
        taken.append(clock() - start)
        time.sleep(pause_s)
    tracker.finish()
    taken.sort()
    print(json.dumps({"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}))


def paired(rounds: int, seconds: float, pause_s: float) -> list[Row]:
    """Return the call times with automatic plots, divided by those without."""
    found: dict[str, list[float]] = {"p50": [], "p99": []}
    calls = int(seconds / pause_s)
    for number in range(rounds):
        pair = {}
        for auto in (True, False) if number % 2 else (False, True):
            with tempfile.TemporaryDirectory() as folder:
                code = f"import visualize; visualize.log_calls({folder!r}, {calls}, {pause_s}, {auto})"
                done = subprocess.run(
                    [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True
                )
                pair[auto] = json.loads(done.stdout.splitlines()[-1])
                stop(Path(folder), timeout_s=30)
        for name, ratios in found.items():
            ratios.append(pair[True][name] / pair[False][name])
    note = f"median of {rounds} pairs of {calls} calls, one a {pause_s * 1000:g} ms"
    return [
        Row("log_metrics p50, plots / none", statistics.median(found["p50"]), "×", CALL_P50_LIMIT, note),
        Row("log_metrics p99, plots / none", statistics.median(found["p99"]), "×", CALL_P99_LIMIT, note),
    ]


class Renderer:
    """The renderer as the visualizer spawns it, but at normal priority, because its time is measured."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            renderer_command(0), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def draw(self, folder: Path) -> tuple[float, float]:
        """Draw one round; return its wall and processor seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        start = time.perf_counter()
        self._process.stdin.write(json.dumps({"folder": str(folder)}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            answer = json.loads(line)
            if "failed" in answer:
                raise RuntimeError(answer)
            if "done" in answer:
                return time.perf_counter() - start, answer["done"]
        raise RuntimeError("the renderer exited")

    def memory_mb(self) -> float:
        """Return the memory that it has now."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 1e6

    def peak_mb(self) -> float:
        """Return its maximum memory so far, on Linux; elsewhere the memory that it has now."""
        try:
            process_status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return self.memory_mb()
        return int(process_status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

    def end(self) -> None:
        """Close its input and wait until it exits."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def drawing(rounds: int) -> list[Row]:
    """Return the time of a full set, for few and for many points, and the renderer's memory."""
    renderer = Renderer()
    with tempfile.TemporaryDirectory() as folder:
        short = store(Path(folder), "short", METRICS, 10_000, losses)
        long = store(Path(folder), "long", METRICS, 1_000_000, losses)
        first = renderer.draw(short)
        renderer.draw(long)
        walls: dict[Path, list[float]] = {short: [], long: []}
        cpus: dict[Path, list[float]] = {short: [], long: []}
        memory = []
        for _ in range(rounds // 2):
            for run in (short, long):
                wall, cpu = renderer.draw(run)
                walls[run].append(wall)
                cpus[run].append(cpu)
                memory.append(renderer.memory_mb())
    renderer.end()
    wall, cpu = statistics.median(walls[long]), statistics.median(cpus[long])
    growth = statistics.median(b / a for a, b in zip(cpus[short], cpus[long], strict=True))
    tenth, last = statistics.median(memory[8:14]), statistics.median(memory[-6:])
    return [
        Row("full set, 10 metrics × 10⁶ points, wall", wall, "s", SET_LIMIT_S, f"median of {rounds // 2}"),
        Row("full set, 10 metrics × 10⁶ points, CPU", cpu, "s", SET_LIMIT_S, "the time on a free core"),
        Row("full set, 10 metrics × 10⁴ points, CPU", statistics.median(cpus[short]), "s"),
        Row("10⁶ points / 10⁴ points, CPU", growth, "×", GROWTH_LIMIT, "median of pairs"),
        Row("first set of a new renderer, imports included, CPU", first[1], "s"),
        Row("renderer's memory, maximum", max(memory), "MB", MEMORY_LIMIT_MB, f"over {rounds} rounds"),
        Row("renderer's memory, last rounds / tenth", last / tenth, "×", FLAT_LIMIT),
    ]


def of_ranks(ranks: int, points: int) -> list[Row]:
    """Return the renderer's time and memory for one metric that many ranks logged."""
    renderer = Renderer()
    with tempfile.TemporaryDirectory() as folder:
        run = store(Path(folder), "ranks", 1, points, losses, ranks=ranks)
        renderer.draw(run)
        _, cpu = renderer.draw(run)
        peak = renderer.peak_mb()
    renderer.end()
    what = f"full set, {ranks} ranks × {points:,} points"
    return [
        Row(f"{what}, CPU", cpu, "s"),
        Row(
            f"{what}: renderer's memory, maximum",
            peak,
            "MB",
            MEMORY_LIMIT_MB,
            "does not depend on the run's length",
        ),
    ]


def main() -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="pairs of runs with and without plots")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each of them logs")
    parser.add_argument("--sets", type=int, default=100, help="rounds of drawing")
    parser.add_argument("--rank-points", type=int, default=4_000_000, help="points of each of 8 ranks")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [*drawing(given.sets), *of_ranks(8, given.rank_points), *paired(given.rounds, given.seconds, 0.001)]
    return report("visualize", rows, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())

"""The measures. In each file ``drive`` starts and watches a trial; ``trial`` runs in the training process."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import Log

clock_ns = time.perf_counter_ns
MAX_FINISH_S = 20.0  # the driver does not wait longer for a tool's end
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def values(metrics: int) -> dict[str, float]:
    """Return the metrics that every call of a trial logs."""
    return {f"metric_{i}": 0.1 * i + 0.01 for i in range(metrics)}


def percentiles(times_ns: list[int]) -> dict[str, float]:
    """Return p50, p99, p99.9 and maximum of call times in µs, and the number of calls."""
    ordered = sorted(times_ns)
    found = {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] for name, share in SHARES.items()}
    return {name: value / 1e3 for name, value in {**found, "max": ordered[-1]}.items()} | {
        "calls": len(ordered)
    }


def noisy(metrics: int, count: int) -> list[dict[str, float]]:
    """Return the metrics of ``count`` calls, all values random, so that they cannot be compressed."""
    generator = random.Random(7)
    return [{name: generator.gauss(0.0, 1.0) for name in values(metrics)} for _ in range(count)]


def back_to_back(
    log: Log, metrics: Sequence[dict[str, float]], first: int, seconds: float, max_calls: int
) -> list[int]:
    """Log ``metrics`` in turn without a pause, for ``seconds`` or ``max_calls``; return each call's ns."""
    times = []
    end = clock_ns() + int(seconds * 1e9)
    for step in range(first, first + max_calls):
        logged = metrics[step % len(metrics)]
        started = clock_ns()
        log(logged, step)
        done = clock_ns()
        times.append(done - started)
        if done > end:
            break
    return times


def paced(log: Log, metrics: dict[str, float], first: int, seconds: float) -> list[int]:
    """Log once a millisecond, or as fast as the tool can if that is slower; return each call's ns."""
    times = []
    begun = clock_ns()
    step = first
    while (
        due := begun + len(times) * 1_000_000
    ) < begun + seconds * 1e9 and clock_ns() - begun < seconds * 1e9:
        wait = due - clock_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        started = clock_ns()
        log(metrics, step)
        times.append(clock_ns() - started)
        step += 1
    return times


def ended(peer: Any, folder: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Write the figures so far for the driver, finish the run, and return them with the time of the finish."""
    publish(folder / "partial.json", json.dumps(found))
    started = clock_ns()
    peer.finish()
    return {**found, "finish_s": (clock_ns() - started) / 1e9}


def publish(path: Path, text: str) -> None:
    """Write a file for the driver, which sees it only when it is complete."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    os.rename(temporary, path)

"""What is measured; in each file ``drive`` looks after a trial, and ``trial`` is the training process."""

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
MOST_FINISH_S = 20.0  # a tool that takes longer to end is not waited for
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def values(metrics: int) -> dict[str, float]:
    """Return what every call of a trial logs."""
    return {f"metric_{i}": 0.1 * i + 0.01 for i in range(metrics)}


def percentiles(times_ns: list[int]) -> dict[str, float]:
    """Return p50, p99, p99.9 and the longest of call times, in µs."""
    ordered = sorted(times_ns)
    found = {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] for name, share in SHARES.items()}
    return {name: value / 1e3 for name, value in {**found, "max": ordered[-1]}.items()} | {
        "calls": len(ordered)
    }


def noisy(metrics: int, count: int) -> list[dict[str, float]]:
    """Return that many calls' metrics, all of their digits different: what is kept of them is not squeezed."""
    generator = random.Random(7)
    return [{name: generator.gauss(0.0, 1.0) for name in values(metrics)} for _ in range(count)]


def back_to_back(
    log: Log, metrics: Sequence[dict[str, float]], first: int, seconds: float, most: int
) -> list[int]:
    """Return the time of each call, one after the other, until time or number is up; ``metrics`` in turn."""
    times = []
    end = clock_ns() + int(seconds * 1e9)
    for step in range(first, first + most):
        logged = metrics[step % len(metrics)]
        started = clock_ns()
        log(logged, step)
        done = clock_ns()
        times.append(done - started)
        if done > end:
            break
    return times


def paced(log: Log, metrics: dict[str, float], first: int, seconds: float) -> list[int]:
    """Return the time of each call, one a millisecond, or as fast as it can where that is slower."""
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
    """Tell the driver what was found so far, finish, and return it with the time that took."""
    tell(folder / "partial.json", json.dumps(found))
    started = clock_ns()
    peer.finish()
    return {**found, "finish_s": (clock_ns() - started) / 1e9}


def tell(path: Path, text: str) -> None:
    """Put a file in place, whole, for the driver."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    os.rename(temporary, path)

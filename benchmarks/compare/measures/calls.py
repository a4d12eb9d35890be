"""The cost of a call: times of the calls, CPU of all processes, times to import, to start, to finish."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from measures import MAX_FINISH_S, back_to_back, clock_ns, ended, paced, percentiles, values

MAX_CALLS = 1_000_000
SETTLE_S = 1.0  # after the start, so that the cost of a call does not include the start of helpers
IDLE_WAIT_S = 30.0


def plan(quick: bool) -> list[dict[str, Any]]:
    """Return the options of the trials of one round."""
    seconds = 0.5 if quick else 1.5
    return [{"metrics": metrics, "seconds": seconds} for metrics in (3, 100)]


def drive(trial: Any, options: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Run one trial; CPU is counted until all helpers are idle."""
    trial.start("calls", options)
    finished = trial.wait_finished(MAX_FINISH_S)
    found = trial.result()
    if "failed" not in found and finished and trial.watch.wait_idle(IDLE_WAIT_S):
        used = trial.watch.cpu_between(found["cost_from_s"], time.monotonic())
        found["cpu_us"] = used / found["back_to_back"]["calls"] * 1e6
    return found


def trial(peer: Any, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Measure in the training process."""
    metrics, seconds = values(options["metrics"]), options["seconds"]
    begun = clock_ns()
    peer.load()
    loaded = clock_ns()
    log = peer.start(folder / "data")
    started = clock_ns()
    for step in range(100):
        log(metrics, step)
    time.sleep(SETTLE_S)
    slow = paced(log, metrics, 100, seconds)
    step = 100 + len(slow)
    cost_from_s = time.monotonic()
    fast = back_to_back(log, [metrics], step, seconds, MAX_CALLS)
    found = {
        "import_s": (loaded - begun) / 1e9,
        "start_s": (started - loaded) / 1e9,
        "back_to_back": percentiles(fast),
        "paced": percentiles(slow),
        "cost_from_s": cost_from_s,
    }
    return ended(peer, folder, found)

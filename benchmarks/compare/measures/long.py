"""A longer run of 3 metrics: whether calls become slower, memory, disk, the time of the finish."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from measures import MAX_FINISH_S, back_to_back, ended, noisy

CALLS = 100_000
EDGE = 1000
METRICS = 3
IDLE_WAIT_S = 30.0
MIB = 1 << 20


def plan(quick: bool) -> list[dict[str, Any]]:
    """Return the options of the trials of one round."""
    return [{"calls": 5_000 if quick else CALLS, "seconds": 3.0 if quick else 20.0}]


def drive(trial: Any, options: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Run one trial; disk is counted when all helpers are idle."""
    trial.start("long", options)
    trial.wait_for("partial.json", 300)
    beside = trial.watch.helpers()  # without short-lived processes of the start
    finished = trial.wait_finished(MAX_FINISH_S)
    found = trial.result()
    if "failed" in found:
        return found
    found["helpers_mb"] = sum(trial.watch.peaks.get(pid, 0) for pid in beside) / MIB
    if finished and trial.watch.wait_idle(IDLE_WAIT_S):
        found["disk_bytes_a_point"] = trial.disk_bytes() / found["calls"] / METRICS
    return found


def trial(peer: Any, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Measure in the training process."""
    metrics = noisy(METRICS, options["calls"])
    peer.load()
    log = peer.start(folder / "data")
    times = back_to_back(log, metrics, 0, options["seconds"], options["calls"])
    first, last = sorted(times[:EDGE]), sorted(times[-EDGE:])
    found = {
        "calls": len(times),
        "first_us": first[len(first) // 2] / 1e3,
        "last_us": last[len(last) // 2] / 1e3,
        "growth": last[len(last) // 2] / first[len(first) // 2],
        "trainer_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return ended(peer, folder, found)

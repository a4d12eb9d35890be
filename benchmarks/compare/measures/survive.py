"""The number of events that survive a SIGKILL right after a call returned, read with the tool's own reader."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path
from typing import Any

from measures import back_to_back, paced, values

BURST_CALLS, BURST_S = 5_000, 3.0
IDLE_WAIT_S = 30.0


def plan(quick: bool) -> list[dict[str, Any]]:
    """Return the options of the trials of one round."""
    return [{"how": how, "seconds": 0.5 if quick else 2.0} for how in ("burst", "paced")]


def drive(trial: Any, options: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Run one trial, wait until the tool's other processes are idle, and read the events."""
    trial.start("survive", options)
    if not trial.wait(120) or not (trial.folder / "returned").exists():
        return {"failed": trial.result().get("failed", "did not end")}
    (returned,) = struct.unpack("<q", (trial.folder / "returned").read_bytes())
    trial.watch.wait_idle(IDLE_WAIT_S)
    trial.start("survive", {"how": "read"})
    if not trial.wait(120):
        return {"failed": "its reader did not end within 120 s"}
    found = trial.result()
    if "failed" in found:
        return found
    steps = set(found["steps"])
    return {
        "logged": returned,
        "lost": len(set(range(returned)) - steps),
        "strange": len(steps - set(range(returned))),
    }


def trial(peer: Any, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """In the training process, log and kill it; or, in a later process, read."""
    peer.load()
    if options["how"] == "read":
        return {"steps": peer.read(folder / "data")}
    metrics = values(3)
    fd = os.open(folder / "returned", os.O_WRONLY | os.O_CREAT)
    log = peer.start(folder / "data")
    if options["how"] == "burst":
        times = back_to_back(log, [metrics], 0, BURST_S, BURST_CALLS)
    else:
        times = paced(log, metrics, 0, options["seconds"])
    os.write(fd, struct.pack("<q", len(times)))
    os.kill(os.getpid(), signal.SIGKILL)
    return {}

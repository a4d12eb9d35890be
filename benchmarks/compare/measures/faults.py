"""The effect on the training loop when the processes beside it are suspended, killed, or permanently gone.

Only for tools with a process beside the training; a thread inside the training process cannot be killed alone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Any

from watch import send

from measures import clock_ns, percentiles, publish, values

BEFORE_S = 1.0
START_S = 180.0
KINDS = ("suspended", "killed", "gone")


def plan(quick: bool) -> list[dict[str, Any]]:
    """Return the options of the trials of one round; ``gone`` is a server that does not come back."""
    suspended = {"fault": "suspended", "fault_s": 3.0 if quick else 20.0}
    return [suspended, *({"fault": kind, "fault_s": 2.0 if quick else 6.0} for kind in KINDS[1:])]


def fits(entry: Any, options: dict[str, Any]) -> bool:
    """Return whether the fault applies to the tool: only a server and our collector can be permanently gone."""
    if entry.beside == "threads":
        return False
    return options["fault"] != "gone" or entry.beside == "server" or entry.module == "ours"


def drive(trial: Any, options: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Run one trial and apply the fault to all processes beside the training process."""
    give_up_s = 10.0 if quick else 30.0
    trial.start("faults", options)
    if not trial.wait_for("running", START_S):
        return {"failed": f"not ready after {START_S:.0f} s"}
    time.sleep(BEFORE_S)
    helpers = trial.watch.helpers()
    if not helpers:
        return {"failed": "no process beside the training was found"}
    if options["fault"] == "gone" and trial.entry.module == "ours":
        _kill_permanently(trial, helpers)
    else:
        for pid in helpers:
            send(pid, signal.SIGSTOP if options["fault"] == "suspended" else signal.SIGKILL)
    begun = time.monotonic()
    ended = trial.wait(options["fault_s"])
    if options["fault"] == "suspended":
        for pid in helpers:
            send(pid, signal.SIGCONT)
    if not ended and not trial.wait(give_up_s):
        return _given_up(trial, time.monotonic() - begun)
    return trial.result()


def _kill_permanently(trial: Any, helpers: list[int]) -> None:
    """Kill the collector and hold its lock, so that no other can replace it."""
    from neural.tracking.state.paths import State

    fd = os.open(State.for_base_dir(trial.data).lock, os.O_RDWR)
    for pid in helpers:
        send(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return  # the lock is held until this process ends; no other trial uses this folder
        except BlockingIOError:
            time.sleep(0.001)


def _given_up(trial: Any, waited_s: float) -> dict[str, Any]:
    """Return where a trial hung, and its result if it has written one."""
    finishing = (trial.folder / "finishing").exists()
    found: dict[str, Any] = {"given_up_s": waited_s, "in": "finish" if finishing else "a call"}
    if finishing:
        found.update(trial.result() if (trial.folder / "result.json").exists() else {})
    return found


def trial(peer: Any, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Log in the training process once a millisecond until the fault is over, then finish."""
    metrics = values(3)
    peer.load()
    log = peer.start(folder / "data")
    for step in range(50):
        log(metrics, step)
    time.sleep(2.0)  # until all helpers run
    publish(folder / "running", "")
    times: list[int] = []
    raised: list[str] = []
    begun = time.monotonic()
    until = begun + BEFORE_S + options["fault_s"] + 1.0
    while (now := time.monotonic()) < until:
        time.sleep(max(0.0, begun + len(times) * 0.001 - now))
        started = clock_ns()
        try:
            log(metrics, 50 + len(times))
        except Exception as error:  # noqa: BLE001 - every exception is part of the result
            raised.append(f"{type(error).__name__}: {error}"[:200])
        times.append(clock_ns() - started)
    publish(folder / "finishing", "")
    ending = clock_ns()
    try:
        peer.finish()
    except Exception as error:  # noqa: BLE001
        raised.append(f"in finish: {type(error).__name__}: {error}"[:200])
    finish_s = (clock_ns() - ending) / 1e9
    return {**percentiles(times), "raised": len(raised), "first_raised": raised[:1], "finish_s": finish_s}

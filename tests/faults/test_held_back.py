"""Held runs while the store is behind, from whose folders they will be delivered."""

import contextlib
import json
import os
import signal

import pytest

from neural.tracking import ExperimentTracker
from neural.tracking.state.control_client import request
from tests.patience import PATIENCE_S
from tests.rough_sinks import DELETED
from tests.sinkbench import bench

__all__ = ["bench"]  # the fixture

pytestmark = pytest.mark.timeout(300)


@contextlib.contextmanager
def stopped_store(bench):
    """Suspend the store, so that no run folder changes."""
    workers = request(bench.state, "status", timeout_s=PATIENCE_S)["workers"]
    pid = next(worker["pid"] for worker in workers if worker["name"] == "store")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def held_run(bench):
    bench.add("rough")
    bench.fault("rough", "without deleted")
    return ExperimentTracker(DELETED, base_dir=bench.base, auto_visualize=False)


def log(tracker, first, count):
    for step in range(first, first + count):
        tracker.log_metrics({"gone": step + 0.5}, step=step)


def passed_over(bench, tracker):
    """Return the number up to which the held run's only session will be delivered from its folder."""
    for file in (bench.state.root / "sinks" / "rough" / "runs").glob("*.json"):
        share = json.loads(file.read_bytes())
        if tracker.experiment_id in share["folder"]:
            return max(share.get("passed_over", {}).values(), default=0)
    return 0


def told(bench):
    return bench.status("rough").last_error or ""


def all_once(count):
    return {("gone", step, step + 0.5): 1 for step in range(count)}


def test_run_that_goes_on_while_its_folder_lags_is_delivered_whole(bench):
    tracker = held_run(bench)
    log(tracker, 0, 100)
    bench.until(lambda: passed_over(bench, tracker) >= 100)

    with stopped_store(bench):
        log(tracker, 100, 100)
        bench.until(lambda: passed_over(bench, tracker) >= 200)
        bench.ntrack("sinks", "disable", "rough")
        log(tracker, 200, 100)
        bench.fault("rough")
        bench.ntrack("sinks", "enable", "rough")
        bench.until(lambda: bench.points("rough") or "still being written" in told(bench))
    assert tracker.finish(timeout=PATIENCE_S)

    bench.until(lambda: bench.status("rough").state == "ok" and bench.status("rough").lag_events == 0)
    assert bench.points("rough") == all_once(300)


def test_run_whose_folder_is_away_waits_for_it(bench):
    tracker = held_run(bench)
    log(tracker, 0, 100)
    assert tracker.finish(timeout=PATIENCE_S)
    bench.until(lambda: passed_over(bench, tracker) >= 100)
    with stopped_store(bench):  # it makes a removed folder again
        away = tracker.experiment_dir.rename(bench.base.parent / "away")
        bench.fault("rough")
        bench.until(lambda: bench.status("rough").state == "ok" or " yet" in told(bench))
        away.rename(tracker.experiment_dir)

    bench.until(lambda: (bench.status("rough").state, bench.status("rough").lag_events) == ("ok", 0))
    assert bench.points("rough") == all_once(100)


def test_flush_that_would_hold_a_run_back_is_tried_again_soon(bench):
    bench.add("rough")
    bench.fault("rough", "holding")
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    log(tracker, 0, 100)
    assert tracker.finish(timeout=PATIENCE_S)
    bench.until(lambda: "a flush that holds" in told(bench))
    assert bench.status("rough").state == "retrying"

    bench.fault("rough")

    bench.until(lambda: (bench.status("rough").state, bench.status("rough").lag_events) == ("ok", 0))
    assert bench.points("rough") == all_once(100)

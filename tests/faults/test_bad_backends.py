"""A failing backend affects only the worker of its own sink."""

import contextlib
import json
import os
import random
import signal
import time

import psutil
import pytest

from neural.tracking import ExperimentTracker
from tests.rough_sinks import DELETED, POISON
from tests.sinkbench import bench

__all__ = ["bench"]  # the fixture

LONG = os.environ.get("FAULTS") == "long"
COUNT = 120
BAD_STEP = 60


def poisoned(bench):
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    for step in range(COUNT):
        tracker.log_metrics({POISON if step == BAD_STEP else "loss": step + 0.5}, step=step)
    assert tracker.finish(timeout=120)
    return tracker


def healthy():
    return {("loss", step, step + 0.5): 1 for step in range(COUNT) if step != BAD_STEP}


@pytest.mark.parametrize(
    "how",
    [
        "raise",
        "segfault",
        "hang",
        "refuse",
        "name",
        "name later",
        pytest.param("exit", marks=pytest.mark.faults_long),
        pytest.param("eat", marks=pytest.mark.faults_long),
    ],
)
def test_event_that_kills_is_set_aside_and_every_other_arrives_once(bench, how):
    limits = (
        {"call_timeout_s": 4} if how == "hang" else {"memory_limit_bytes": 300 << 20} if how == "eat" else {}
    )
    bench.add("rough", how=how, **limits)

    poisoned(bench)

    bench.until(lambda: bench.points("rough") == healthy())
    bench.until(lambda: bench.status("rough").lag_events == 0)
    (letter,) = json.loads(bench.ntrack("sinks", "dead-letters", "ls", "rough", "--json").stdout)
    assert (letter["step"], letter["data"]) == (BAD_STEP, {POISON: BAD_STEP + 0.5})
    named = dict.fromkeys(("refuse", "name", "name later"), "poison is not taken here")
    assert {"raise": "an unexpected error", **named}.get(how, "") in letter["error"]
    assert bench.status("rough").dead_letters == 1


def test_dead_letter_is_delivered_once_its_reason_is_gone(bench):
    bench.add("rough", how="refuse")
    poisoned(bench)
    bench.until(lambda: bench.status("rough").dead_letters == 1)

    bench.ntrack("sinks", "dead-letters", "retry", "rough")  # refused again, and a dead letter again
    bench.until(lambda: not list((bench.state.root / "sinks" / "rough").glob("retry-*")))
    assert bench.status("rough").dead_letters == 1
    bench.ntrack("sinks", "add", "rough", "--set", "how=nothing")
    bench.ntrack("sinks", "dead-letters", "retry", "rough")

    bench.until(lambda: bench.points("rough") == {**healthy(), (POISON, BAD_STEP, BAD_STEP + 0.5): 1})
    assert "has no dead letters" in bench.ntrack("sinks", "dead-letters", "ls", "rough").stdout


@pytest.mark.parametrize("fault", ["down", "silent"])
def test_backend_that_is_down_holds_up_nobody_and_gets_everything_once(bench, fault):
    bench.add("bad", call_timeout_s=4)
    bench.add("good")
    bench.fault("bad", fault)
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    total = 0

    def log(count):
        nonlocal total
        for _ in range(count):
            tracker.log_metrics({"loss": total + 0.5}, step=total)
            total += 1
        bench.until(lambda: len(bench.points("good")) == total)  # at once, independent of the other sink

    log(100)
    if fault == "down":
        bench.until(lambda: bench.status("bad").state == "retrying")
        assert "the backend is down" in bench.ntrack("sinks", "ls").stdout
    bench.fault("bad")
    log(100)
    bench.fault("bad", fault)
    log(100)
    assert tracker.finish(timeout=120)
    bench.fault("bad")

    bench.until(lambda: len(bench.points("bad")) == total)
    assert bench.points("bad") == bench.points("good")
    assert set(bench.points("bad").values()) == {1}
    assert bench.status("bad").dead_letters == 0


def test_backend_that_loses_what_it_was_given_is_given_it_again_and_no_event_is_blamed(bench):
    bench.add("bad")
    bench.fault("bad", "losing")
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    for step in range(COUNT):
        tracker.log_metrics({"loss": step + 0.5}, step=step)

    bench.until(lambda: bench.status("bad").restarts >= 4)  # after three deaths they are suspected

    trying = bench.state.root / "sinks" / "bad" / "trying.json"
    assert json.loads(trying.read_bytes() or "{}").get("suspects", {}) == {}
    bench.until(lambda: bench.status("bad").state == "retrying")  # not while it starts again
    bench.until(lambda: "the backend lost it" in bench.ntrack("sinks", "ls").stdout)
    assert tracker.finish(timeout=120)
    bench.fault("bad")
    bench.until(lambda: bench.status("bad").lag_events == 0)
    assert bench.points("bad") == {("loss", step, step + 0.5): 1 for step in range(COUNT)}
    assert bench.status("bad").dead_letters == 0
    bench.until(lambda: not trying.read_bytes())


@pytest.mark.timeout(300)
def test_run_the_backend_does_not_take_waits_and_all_others_go_on(bench):
    bench.add("rough")
    bench.fault("rough", "without deleted")
    deleted = ExperimentTracker(DELETED, base_dir=bench.base, auto_visualize=False)
    train = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)

    def log(first, count):
        for step in range(first, first + count):
            deleted.log_metrics({"gone": step + 0.5}, step=step)
            train.log_metrics({"loss": step + 0.5}, step=step)
        bench.until(lambda: bench.points("rough") == {("loss", s, s + 0.5): 1 for s in range(first + count)})

    log(0, 100)
    bench.until(lambda: bench.status("rough").state == "holding")
    status = bench.status("rough")
    assert f"run {DELETED}_{deleted.experiment_id} waits: it was deleted there" in status.last_error
    assert status.lag_events >= 100
    log(100, 100)
    os.kill(status.pid, signal.SIGKILL)
    log(200, 100)
    bench.until(lambda: bench.status("rough").state == "holding")
    assert train.finish(timeout=120)
    assert deleted.finish(timeout=120)
    bench.fault("rough")

    both = {(name, s, s + 0.5): 1 for s in range(300) for name in ("loss", "gone")}
    bench.until(lambda: bench.points("rough") == both)
    bench.until(lambda: (bench.status("rough").state, bench.status("rough").lag_events) == ("ok", 0))
    assert bench.status("rough").dead_letters == 0
    ended = [
        line["data"] for line in bench.lines("rough") if line["kind"] == "status" and line["data"]["ended"]
    ]
    assert [told["status"] for told in ended] == ["completed", "completed"]


def test_dead_letter_of_a_run_that_is_held_back_stays_one(bench):
    bench.add("rough", how="refuse")
    tracker = ExperimentTracker(DELETED, base_dir=bench.base, auto_visualize=False)
    tracker.log_metrics({POISON: 0.5}, step=1)
    assert tracker.finish(timeout=120)
    bench.until(lambda: bench.status("rough").dead_letters == 1)
    bench.fault("rough", "without deleted")

    bench.ntrack("sinks", "dead-letters", "retry", "rough")

    bench.until(lambda: bench.status("rough").state == "holding")
    (letter,) = json.loads(bench.ntrack("sinks", "dead-letters", "ls", "rough", "--json").stdout)
    assert letter["data"] == {POISON: 0.5}
    assert letter["error"] == f"run {DELETED}_{tracker.experiment_id} waits: it was deleted there"


@pytest.mark.timeout(1800 if LONG else 600)
def test_worker_killed_again_and_again_loses_and_doubles_nothing(bench):
    kills = 50 if LONG else 6
    bench.add("rough")
    bench.fault("rough", "slow")
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    rng = random.Random(7)
    total = 0

    for _ in range(kills):
        for _ in range(200):
            tracker.log_metrics({"loss": total + 0.5}, step=total)
            total += 1
        bench.until(lambda: bench.status("rough").pid is not None)
        time.sleep(rng.uniform(0, 0.6))
        pid = bench.status("rough").pid
        if pid is not None:  # otherwise it is between two processes
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert tracker.finish(timeout=120)
    bench.fault("rough")

    bench.until(lambda: len(bench.points("rough")) == total, 240)
    assert bench.points("rough") == {("loss", step, step + 0.5): 1 for step in range(total)}
    assert bench.status("rough").dead_letters == 0


def test_keys_never_show_anywhere(bench, monkeypatch):
    canary = f"canary{os.urandom(8).hex()}"
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, canary)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{canary}@127.0.0.1:9/")
    refused = bench.ntrack("sinks", "add", "w", "--type", "wandb", "--set", f"api_key={canary}", check=False)
    bench.add("rough")

    tracker = poisoned_free(bench)
    bench.until(lambda: bench.status("rough").lag_events == 0)
    outputs = [refused.stdout, refused.stderr]
    outputs += [bench.ntrack("sinks", "ls", "--json").stdout, bench.ntrack("status", "--json").stdout]
    outputs += [bench.ntrack("runs", "show", tracker.experiment_id, "--json").stdout]
    command_lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]

    assert refused.returncode == 1
    held = [
        path for path in bench.base.parent.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()
    ]
    assert held == []
    assert not any(canary in text for text in [*outputs, *command_lines])


def poisoned_free(bench):
    tracker = ExperimentTracker("train", base_dir=bench.base, auto_visualize=False)
    for step in range(COUNT):
        tracker.log_metrics({"loss": step + 0.5}, step=step)
    assert tracker.finish(timeout=120)
    return tracker

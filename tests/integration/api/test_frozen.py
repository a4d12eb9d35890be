"""A training whose executable is not Python: a frozen application, a program that embeds Python."""

import os
import subprocess
import sys
import time

import pytest

from neural.tracking.collector import commands
from neural.tracking.experiment_tracker import ExperimentManager
from neural.tracking.state.paths import State
from tests.patience import PATIENCE_S

APPLICATION = """
import sys, time
sys.executable = {executable!r}
if {frozen}:
    sys.frozen = True
from neural.tracking import ExperimentTracker
for name in ("one", "two"):
    tracker = ExperimentTracker(name, {base!r}, auto_visualize=False)
    tracker.log_metrics({{"loss": 1.0}})
    began = time.monotonic()
    tracker.flush(timeout=60)
    print("stored", tracker.finish(timeout=60), "after", time.monotonic() - began)
"""


@pytest.fixture
def application(tmp_path):
    """Return a function that runs a training and returns its output, and how often it was started."""
    base, starts = tmp_path / "runs", tmp_path / "starts"
    executable = tmp_path / "train_app"
    executable.write_text(f'#!/bin/sh\necho "$@" >> {starts}\n')
    executable.chmod(0o755)
    starts.touch()

    def run(*, frozen, **environ):
        source = APPLICATION.format(executable=str(executable), frozen=frozen, base=str(base))
        done = subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return done, starts.read_text()

    run.base = base
    yield run
    commands.stop(base, timeout_s=120)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "embedding"])
def test_application_is_not_started_again_and_does_not_wait_for_nobody(application, frozen):
    done, starts = application(frozen=frozen)

    lines = done.stdout.splitlines()
    assert starts == ""
    assert [line.split()[:2] for line in lines] == [["stored", "False"]] * 2
    assert all(float(line.split()[-1]) < 30 for line in lines)
    assert done.stderr.count("no collector can be started") == 1
    assert f"ntrack collector start --base-dir {application.base}" in done.stderr
    assert "NTRACK_PYTHON" in done.stderr
    assert not State.for_base_dir(application.base).collector_runs()


def test_what_it_logged_is_delivered_by_a_collector_that_is_started_by_hand(application):
    application(frozen=True)

    commands.start(application.base, timeout_s=PATIENCE_S)

    stored_of_both(application.base)


def test_python_named_in_the_environment_delivers_at_once(application):
    done, starts = application(frozen=True, NTRACK_PYTHON=sys.executable, PYTHONPATH=os.pathsep.join(sys.path))

    assert starts == ""
    assert "no collector" not in done.stderr
    stored_of_both(application.base)


def stored_of_both(base):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        manager = ExperimentManager(base)
        listed = manager.list_experiments()
        if {run["status"] for run in listed} == {"completed"}:
            break
        assert time.monotonic() < deadline, listed
        time.sleep(0.2)
    for run in listed:
        assert manager.get_experiment(run["experiment_id"]).get_metrics("loss") == [1.0]

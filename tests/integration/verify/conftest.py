"""A base_dir that real trainings have written: one was killed, one still runs. Each test damages a copy."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from neural.tracking.cli import main
from neural.tracking.collector import commands
from tests.faults.harness import clean_environment
from tests.patience import wait_until

# Two attempts make two parts. In the first part each metric has row groups of its own.
WHOLE = """
from neural.tracking import ExperimentManager, ExperimentTracker
tracker = ExperimentTracker("whole", base_dir=base, tags=["a", "b"], notes="n", group="g")
for calls in (66_000, 40):
    tracker.log_hyperparameters({"lr": 0.1, "calls": calls, "never": float("inf")})
    for i in range(calls):
        tracker.log_metrics({"loss": 1 / (i + 1), "acc": i / calls}, step=i)
        if i % 20 == 0 and i < 100:
            tracker.log_text("said", f"at {i}, ü")
    tracker.log_metrics({"val/loss": float("nan"), "once": 1.0}, step=5)
    assert tracker.finish(timeout=120)
    tracker = ExperimentManager(base).get_experiment(tracker.experiment_id)
"""
OTHER = """
from neural.tracking import ExperimentTracker
with ExperimentTracker("other", base_dir=base) as tracker:
    tracker.log_hyperparameters({"lr": 0.2})
    for i in range(50):
        tracker.log_metrics({"loss": float(i)}, step=i)
"""
# Starts no collector and exits abruptly; a bit of its outbox is flipped before a collector adopts it.
DEAD = """
import os
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("dead", base_dir=base, mode="offline")
for i in range(100):
    tracker.log_metrics({"loss": float(i)}, step=i)
os._exit(1)
"""
LIVE = """
import time
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("live", base_dir=base)
tracker.log_hyperparameters({"x": 1})
for i in range(300):
    tracker.log_metrics({"loss": float(i)}, step=i)
    if i % 100 == 0:
        tracker.log_text("said", str(i))
assert tracker.flush(120)
print("stored", flush=True)
time.sleep(600)
"""


def start(base, source):
    command = [sys.executable, "-P", "-c", f"base = {str(base)!r}\n{source}"]
    return subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE)


@pytest.fixture(scope="session")
def left(tmp_path_factory):
    """Return the folder that all tests copy; no process writes to it any more."""
    base = tmp_path_factory.mktemp("left") / "runs"
    with start(base, DEAD) as dead:
        assert dead.wait(120) == 1
    (segment,) = base.glob(".ntrack/outbox/*/*.seg")
    with segment.open("r+b") as file:
        file.seek(64 + 2000)
        file.write(b"?" * 8)
    live = start(base, LIVE)
    try:
        with start(base, WHOLE) as whole, start(base, OTHER) as other:
            assert live.stdout.readline() == b"stored\n"
            assert (whole.wait(120), other.wait(120)) == (0, 0)
        wait_until(lambda: list(base.glob("dead_*/metrics/part-*.parquet")), what="the dead run is stored")
        live.send_signal(signal.SIGSTOP)  # otherwise it starts another collector
        assert commands.stop(base, timeout_s=120) == 0
    finally:
        live.kill()
        live.wait()
        live.stdout.close()
        with contextlib.suppress(psutil.NoSuchProcess):
            commands.stop(base, timeout_s=120)
    return base


@pytest.fixture
def runs(left, tmp_path):
    """Return a copy that a test can damage."""
    copy = tmp_path / "runs"
    shutil.copytree(left, copy)
    for folder in copy.glob(".ntrack/outbox/*"):
        os.utime(folder)
    return copy


def run_folder(base, name):
    (folder,) = base.glob(f"{name}_*")
    return folder


def only(folder, pattern):
    """Return the first file that matches, in the order of names: of parts the oldest."""
    return sorted(folder.glob(pattern))[0]


def ntrack(*arguments):
    """Return exit code and output of a command; an exception of the command fails the test.

    It runs offline. Otherwise a command that finds the outbox of the killed run starts a collector, which
    changes the copy during the test.
    """
    done = CliRunner(env={"NTRACK_MODE": "offline"}).invoke(
        main, [str(word) for word in arguments], catch_exceptions=False
    )
    return done.exit_code, done.output


def verify(base: Path):
    return ntrack("verify", "--base-dir", base)

"""A run folder becomes another user's: only this run waits, and nothing of it is lost."""

import json
import os
import subprocess
import sys

import pytest

from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.state.quarantine import list_quarantined
from neural.tracking.verify.verify import verify_base
from tests.faults.disks import needs_namespaces
from tests.faults.outcome import verify, wait_settled
from tests.faults.training import ACKNOWLEDGED, TRAINING, assert_complete, finish_undisturbed
from tests.patience import wait_until

SOMEBODY = 23_456  # inside the namespace, where root is only this user, nobody


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folder_that_becomes_another_users_holds_up_no_other_run(keeper, base_dir):
    base_dir.mkdir()
    disk = keeper.bound_disk(base_dir, read_only=False)
    taken = keeper.trainer(base_dir, TRAINING.replace('"training"', '"taken"'), disk=disk)
    other = keeper.trainer(base_dir, TRAINING.replace('"training"', '"other"'), disk=disk)
    for trainer in (taken, other):
        trainer.wait_returned(50, ACKNOWLEDGED)
    (folder,) = base_dir.glob("taken_*")
    wait_until(lambda: list(folder.glob("ledger-*")), what="the store has written to it")

    folder.chmod(0o700)
    os.chown(folder, SOMEBODY, SOMEBODY)
    state = State.for_base_dir(base_dir)
    (held,) = wait_until(lambda: list_quarantined(state))
    steps = {"other": finish_undisturbed(other)}
    doctor = [sys.executable, "-P", "-m", "neural.tracking.cli", "doctor", "--base-dir", str(base_dir)]
    told = subprocess.run([*disk.enter, *doctor], capture_output=True, text=True, check=False)

    assert held.run == folder.name
    assert folder.name in told.stdout and told.returncode == 1
    os.chown(folder, os.geteuid(), os.getegid())
    wait_until(lambda: not list_quarantined(state), what="the store took the folder back")
    steps["taken"] = finish_undisturbed(taken)
    wait_settled(base_dir)
    for run in list_runs(base_dir):
        assert_complete(run, steps[run.name])
    assert verify(base_dir) == 0


# Python imports it at its start if its folder is on PYTHONPATH: the store's process dies of one event.
DEADLY = """
import os, signal, sys
if "neural.tracking.collector.workers.worker" in sys.orig_argv and "store" in sys.orig_argv:
    from neural.tracking.collector.store.run_writer import RunWriter
    apply = RunWriter.apply
    def die(self, item):
        if b"deadly" in bytes(getattr(item, "payload", b"")):
            os.kill(os.getpid(), signal.SIGSEGV)
        return apply(self, item)
    RunWriter.apply = die
"""
LOGS = """
from neural.tracking import ExperimentTracker
with ExperimentTracker(_os.environ["NAME"], base_dir) as tracker:
    for i in range(10):
        tracker.log_metrics({"loss": i})
    tracker.log_text("remark", _os.environ["TEXT"])
"""


def test_event_of_which_the_store_crashes_holds_up_no_other_run(keeper, base_dir, tmp_path):
    for name, text in (("bad", "deadly"), ("good", "harmless")):
        environment = {"NAME": name, "TEXT": text, "NTRACK_MODE": "offline"}
        keeper.trainer(base_dir, LOGS, environment=environment).succeed()
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(DEADLY)
    state = State.for_base_dir(base_dir)

    crashing = keeper.run_collector(base_dir, environment={"PYTHONPATH": str(tmp_path / "hook")})
    (held,) = wait_until(lambda: list_quarantined(state), what="the run is in quarantine")
    wait_until(lambda: stored(base_dir).get("good"), what="the other run is stored")

    assert "died 3 times" in held.error
    assert not stored(base_dir)["bad"]
    assert verify(base_dir) == 3
    request(state, "stop", timeout_s=120)
    crashing.wait(120)
    forget_the_pause(held.place)
    keeper.run_collector(base_dir)
    wait_until(lambda: stored(base_dir).get("bad"), what="a store that does not crash takes it back")
    wait_until(lambda: not list_quarantined(state))
    assert verify(base_dir) == 0


def stored(base_dir):
    """Return the names of the runs that are completely stored."""
    runs = verify_base(base_dir).runs
    return {run.folder.name.split("_")[0]: all(s.ended and not s.pending for s in run.sessions) for run in runs}


def forget_the_pause(place):
    """Let the next process try the run at once, not after a minute."""
    why = json.loads((place / "why.json").read_text())
    (place / "why.json").write_text(json.dumps({**why, "retry_s": 0.0}))

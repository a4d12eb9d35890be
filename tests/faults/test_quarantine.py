"""A run folder that becomes another user's: only its own run waits, and nothing of it is lost."""

import os
import subprocess
import sys

import pytest

from neural.tracking.accounting.quarantine import list_quarantined
from neural.tracking.reader.run import list_runs
from neural.tracking.state import State
from tests.faults.disks import needs_namespaces
from tests.faults.harness import wait_until
from tests.faults.outcome import verify, wait_settled
from tests.faults.training import ACKNOWLEDGED, TRAINING, assert_whole, end_unhurt

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
    (held,) = wait_until(lambda: list_quarantined(state), 30)
    steps = {"other": end_unhurt(other)}
    doctor = [sys.executable, "-P", "-m", "neural.tracking.cli", "doctor", "--base-dir", str(base_dir)]
    told = subprocess.run([*disk.enter, *doctor], capture_output=True, text=True, check=False)

    assert held.run == folder.name
    assert folder.name in told.stdout and told.returncode == 1
    os.chown(folder, os.geteuid(), os.getegid())
    wait_until(lambda: not list_quarantined(state), 90, "the store took the folder back")
    steps["taken"] = end_unhurt(taken)
    wait_settled(base_dir)
    for run in list_runs(base_dir):
        assert_whole(run, steps[run.name])
    assert verify(base_dir) == 0

"""A run's status reports that its process died: soon, and with the signal if the kernel reports it."""

import os
import signal
import time

import pytest

from tests.faults.outcome import only_run, verify, wait_settled
from tests.patience import wait_until

# 5 s on an idle machine. Without the mechanism the status changes after a minute of silence, or never.
TOLD_WITHIN_S = 30.0

LOGGING = """
import time
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("doomed", base_dir)
tracker.log_metrics({"m": 0.0})
assert tracker.flush(120)
ready()
"""
TRAINER = """
while True:
    tracker.log_metrics({"m": 1.0})
    time.sleep(0.001)
"""
SEGFAULT = """
import ctypes
wait_for_go()
ctypes.string_at(0)
"""
WITH_CHILD = """
slot = 0 if _os.fork() else 1
while not go_requested():
    tracker.log_metrics({"m": 1.0})
    returned[slot] += 1
    time.sleep(0.001)
"""
WITHOUT_GOODBYE = """
wait_for_go()
_os._exit(7)
"""


def failure_told(base_dir):
    """Wait until the run has failed, which must be soon; return its error."""
    wait_until(lambda: only_run(base_dir).status == "failed", TOLD_WITHIN_S, "the run has failed")
    return only_run(base_dir).error


def kernel_tells_signals():
    return tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)


def test_trainer_killed_by_a_signal_fails_with_its_name(keeper, base_dir):
    trainer = keeper.trainer(base_dir, LOGGING + TRAINER)
    trainer.wait_ready()

    trainer.process.send_signal(signal.SIGTERM)
    trainer.wait()

    assert failure_told(base_dir) == ("died: SIGTERM" if kernel_tells_signals() else "died")


@pytest.mark.parametrize(
    ("body", "how"), [(SEGFAULT, "SIGSEGV"), (WITHOUT_GOODBYE, "exited with code 7")], ids=["segfault", "_exit"]
)
def test_trainer_that_ends_without_a_goodbye_fails(keeper, base_dir, body, how):
    trainer = keeper.trainer(base_dir, LOGGING + body)
    trainer.wait_ready()

    trainer.go()
    trainer.wait()

    told = failure_told(base_dir)
    assert told.startswith("died")
    assert how in told or not kernel_tells_signals()


def test_trainer_whose_parent_is_slow_to_reap_it_still_fails_with_the_signal(keeper, base_dir):
    trainer = keeper.trainer(base_dir, LOGGING + TRAINER)
    trainer.wait_ready()

    os.kill(trainer.pid, signal.SIGKILL)
    time.sleep(0.5)  # it is a zombie meanwhile; this is not a wait for a condition
    trainer.wait()

    assert failure_told(base_dir) == ("died: SIGKILL" if kernel_tells_signals() else "died")


def test_trainer_killed_while_its_child_lives_has_failed(keeper, base_dir):
    trainer = keeper.trainer(base_dir, LOGGING + WITH_CHILD)
    trainer.wait_returned(1, slot=1)

    trainer.kill()

    assert failure_told(base_dir).startswith("died")
    trainer.go()  # now the child ends too
    wait_settled(base_dir)
    assert only_run(base_dir).status == "failed"
    assert verify(base_dir) == 0

"""Signals during log calls, checked up to the run folder: no deadlock, and nothing is lost."""

import signal

import numpy as np

from tests.faults.harness import rounds
from tests.faults.outcome import only_run, points_of, verify, wait_settled

# Processes that a shell starts in the background ignore SIGINT.
STARTS = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("interrupted", base_dir)
"""
# Handlers also interrupt handlers.
HANDLER_LOGS = """
def handler(*_):
    i = returned[1]
    returned[1] = i + 1
    assert tracker.log_metrics({"handled": i}, step=i)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
while returned[1] < SIGNALS:
    assert tracker.log_metrics({"outer": returned[0], "one": 1}, step=returned[0])
    returned[0] += 1
signal.setitimer(signal.ITIMER_REAL, 0)
tracker.finish(timeout=120)
"""
# Records which calls returned. Every 50th has new names and so takes the slow path.
INTERRUPTED = """
inside, interrupted, i, kept = False, 0, 0, bytearray()
def handler(*_):
    if inside:
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
while interrupted < INTERRUPTS:
    kept.append(0)
    try:
        inside = True
        tracker.log_metrics({"m": i} if i % 50 else {f"new-{i}": 1, "m": i}, step=i)
        kept[i] = 1
        inside = False
    except KeyboardInterrupt:
        inside = False
        interrupted += 1
    i += 1
signal.setitimer(signal.ITIMER_REAL, 0)
base_dir.with_name("kept").write_bytes(kept)
tracker.finish(timeout=120)
"""
TRAINING = """
ready()
for i in range(10**9):
    tracker.log_metrics({"m": i}, step=i)
    returned[0] = i + 1
"""


def account(base_dir):
    """Assert that everything is stored without a gap; return the run."""
    (session,) = wait_settled(base_dir)
    assert (session.gaps, session.missing, session.doubled) == ([], [], [])
    assert verify(base_dir) == 0
    return only_run(base_dir)


def test_handlers_that_log_lose_nothing_and_never_deadlock(keeper, base_dir):
    signals = rounds(5_000, 100_000)

    trainer = keeper.trainer(base_dir, f"SIGNALS = {signals}\n" + STARTS + HANDLER_LOGS)
    trainer.succeed(300)

    run = account(base_dir)
    # A handler may run between the read and the increment of the number: then two calls log the same.
    handled = points_of(run, "handled").value
    assert len(handled) >= signals
    assert set(handled) == set(range(trainer.returned(1)))
    assert np.array_equal(points_of(run, "outer").value, np.arange(trainer.returned(0)))


def test_interrupts_inside_the_call_lose_no_call_that_returned(keeper, base_dir):
    interrupts = rounds(1_000, 10_000)

    trainer = keeper.trainer(base_dir, f"INTERRUPTS = {interrupts}\n" + STARTS + INTERRUPTED)
    trainer.succeed(300)

    stored = points_of(account(base_dir), "m")
    kept = np.flatnonzero(np.frombuffer(base_dir.with_name("kept").read_bytes(), np.uint8))
    assert np.array_equal(stored.value, stored.step)
    assert np.all(np.diff(stored.step) > 0)
    assert set(kept) <= set(stored.step.tolist())


def test_control_c_fails_the_run_and_keeps_all_of_it(keeper, base_dir):
    trainer = keeper.trainer(base_dir, STARTS + TRAINING)
    trainer.wait_returned(1000)

    trainer.process.send_signal(signal.SIGINT)
    trainer.wait()

    run = account(base_dir)
    stored = len(points_of(run, "m").value)
    assert trainer.returned() <= stored <= trainer.returned() + 1
    assert run.status == "failed"
    assert "KeyboardInterrupt" in run.error

"""The collector is suspended, absent, cannot start or loses its folder: trainings never notice."""

import shutil

import numpy as np
import pytest

from neural.tracking.formats import ledgers
from neural.tracking.state.control_client import request
from tests.faults.harness import rounds
from tests.faults.outcome import LOG_LOST, only_run, points_of, verify, wait_settled
from tests.patience import wait_until

TWO_SEGMENTS = 160_000  # events, with the limit of the outbox below

# Asserts that each call kept its event; an exception ends it with a code that the test sees. At the end
# it reports how long finish(timeout=1) took, in ms, and what it returned.
TRAINER = """
import time
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("alone", base_dir)
i = 0
while not go_requested():
    assert tracker.log_metrics({"half": i / 2}, step=i)
    i += 1
    returned[0] = i
    if i % int(_os.environ.get("BURST", 4)) == 0:
        time.sleep(0.0005)
began = time.monotonic()
returned[2] = tracker.finish(timeout=1)
returned[1] = int(1000 * (time.monotonic() - began))
"""


def finish_undisturbed(trainer):
    """End it; assert that it had no exception and that finish() took its second and the time of stopping."""
    trainer.go()
    trainer.succeed()
    assert trainer.returned(1) < 20_000  # it would wait as long as no collector answers


def assert_all_stored(base_dir, trainer):
    assert log_lost(base_dir, trainer) == []


def log_lost(base_dir, trainer):
    """Assert that every event is stored, in order and with its value, or in a gap; return the gaps."""
    (session,) = wait_settled(base_dir)
    assert verify(base_dir) == 0
    assert {reason for _, _, reason in session.gaps} <= {LOG_LOST}
    half = points_of(only_run(base_dir), "half")
    gaps = sum(last - first + 1 for first, last, _ in session.gaps)
    assert len(half.step) + gaps >= trainer.returned()
    assert np.all(np.diff(half.step) > 0)
    assert half.step[-1] == trainer.returned() - 1
    assert np.array_equal(half.value, half.step / 2)
    assert only_run(base_dir).status == "completed"
    return session.gaps


def test_suspended_for_a_while_everything_follows(keeper, base_dir):
    trainer = keeper.trainer(base_dir, TRAINER)
    trainer.wait_returned(100)
    collector = keeper.collector_of(base_dir)
    collector.wait_ready()

    collector.suspend()
    before = trainer.returned()
    trainer.run_for(rounds(2, 20))
    trainer.wait_returned(before + 100)
    collector.resume()
    wait_durable(base_dir, trainer.returned())

    finish_undisturbed(trainer)
    assert_all_stored(base_dir, trainer)


def test_finish_keeps_its_timeout_while_the_collector_is_suspended(keeper, base_dir):
    trainer = keeper.trainer(base_dir, TRAINER)
    trainer.wait_returned(100)
    collector = keeper.collector_of(base_dir)
    collector.wait_ready()

    collector.suspend()
    finish_undisturbed(trainer)
    assert trainer.returned(2) == 0
    collector.resume()

    assert_all_stored(base_dir, trainer)


def test_never_started_the_outbox_waits_for_one(keeper, base_dir):
    trainer = keeper.trainer(base_dir, TRAINER, environment={"NTRACK_MODE": "offline"})
    trainer.wait_returned(5000)
    finish_undisturbed(trainer)

    keeper.run_collector(base_dir)

    assert_all_stored(base_dir, trainer)


def test_that_cannot_start_hurts_nobody(keeper, base_dir):
    lock = keeper.collector_of(base_dir).state.lock
    lock.mkdir(parents=True)  # where every collector creates a file
    trainer = keeper.trainer(base_dir, TRAINER)
    trainer.wait_returned(100)
    trainer.run_for(rounds(2, 20))
    finish_undisturbed(trainer)

    lock.rmdir()
    keeper.run_collector(base_dir)

    assert_all_stored(base_dir, trainer)


@pytest.mark.parametrize("folder", [".ntrack", ".ntrack/log"])
def test_that_lost_its_folder_loses_nothing_that_is_stored_or_held(keeper, base_dir, tmp_path, folder):
    trainer = keeper.trainer(base_dir, TRAINER)
    trainer.wait_returned(1000)
    wait_durable(base_dir, 1000)

    (base_dir / folder).rename(tmp_path / "removed")
    shutil.rmtree(tmp_path / "removed", ignore_errors=True)
    trainer.run_for(rounds(0, 10))
    wait_durable(base_dir, trainer.returned() + 100)

    finish_undisturbed(trainer)
    assert_all_stored(base_dir, trainer)


def test_log_restored_from_an_older_copy_loses_nothing_that_is_stored(keeper, base_dir, tmp_path):
    trainer, collector = start_with_small_segments(keeper, base_dir)
    shutil.copytree(collector.state.log, tmp_path / "copy")
    wait_durable(base_dir, TWO_SEGMENTS)

    collector.kill_all()
    stored = durable(base_dir)
    restore(collector, tmp_path / "copy")
    wait_durable(base_dir, trainer.returned() + 100)

    finish_undisturbed(trainer)
    assert all(first > stored for first, _, _ in log_lost(base_dir, trainer))


def test_log_restored_before_it_was_read_leaves_an_exact_gap(keeper, base_dir, tmp_path):
    trainer, collector = start_with_small_segments(keeper, base_dir)
    wait_durable(base_dir, 1)
    shutil.copytree(collector.state.log, tmp_path / "copy")
    for worker in collector.workers():
        worker.suspend()
    wait_acknowledged(collector, trainer.returned() + TWO_SEGMENTS)

    collector.kill_all()
    restore(collector, tmp_path / "copy")
    wait_durable(base_dir, trainer.returned() + 100)

    finish_undisturbed(trainer)
    assert len(log_lost(base_dir, trainer)) == 1


def start_with_small_segments(keeper, base_dir):
    """Start a fast training whose outbox soon frees acknowledged segments."""
    state = keeper.collector_of(base_dir).state
    state.config_file.parent.mkdir(parents=True)
    state.config_file.write_text("[agent]\noutbox_limit_bytes = 12_000_000\n")  # segments of 3 MB
    trainer = keeper.trainer(base_dir, TRAINER, environment={"BURST": "50"})
    collector = keeper.collector_of(base_dir)
    collector.wait_ready()
    return trainer, collector


def wait_acknowledged(collector, number):
    def acknowledged():
        (session,) = request(collector.state, "status", timeout_s=120)["sessions"]
        return session["last"] >= number

    wait_until(acknowledged, what=f"{number} events are acknowledged")


def wait_durable(base_dir, number):
    wait_until(lambda: durable(base_dir) >= number, what=f"{number} events are durable")


def durable(base_dir):
    """Return the number of events in the ledger of the run's folder."""
    claims = ledgers.read_all(only_run(base_dir).folder, []).values()
    return max((entry.last for claim in claims for entry in claim.sessions.values()), default=0)


def restore(collector, copy):
    """Replace the log by the copy, as a user who restores a backup."""
    shutil.rmtree(collector.state.log)
    shutil.copytree(copy, collector.state.log)

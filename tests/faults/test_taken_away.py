"""Live runs are removed or deleted, and a clock jumps: both are reported, and the rest continues."""

import os

import numpy as np

from neural.tracking import ExperimentManager
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.verify.verify import verify_base, verify_run
from tests.faults.harness import Clock, rounds
from tests.faults.outcome import only_run, points_of, verify, wait_settled
from tests.faults.training import (
    ACKNOWLEDGED,
    TRAINING,
    assert_never_delayed,
    assert_stored,
    expected_values,
    finish_undisturbed,
)
from tests.patience import wait_until

HOUR = 3600.0


def stored(base_dir):
    """Return the number of events that a reader finds in the only run; 0 while its files are created."""
    runs = list_runs(base_dir)
    sessions = verify_run(runs[0].folder).sessions if runs else []
    return sessions[0].stored if sessions else 0


def test_folder_moved_away_is_made_again_and_what_it_held_is_an_exact_gap(keeper, base_dir, tmp_path):
    trainer = keeper.trainer(base_dir, TRAINING)
    wait_until(lambda: stored(base_dir) > 300)
    moved = tmp_path / "moved"

    os.rename(only_run(base_dir).folder, moved)

    trainer.wait_returned(trainer.returned() + 500)
    steps = finish_undisturbed(trainer)
    (session,) = wait_settled(base_dir)
    ((first, last, reason),) = session.gaps
    assert (first, reason) == (1, "run_folder_removed")
    assert (session.missing, session.doubled, session.stored) == ([], [], session.n - last)
    assert verify(base_dir) == 0
    found = points_of(only_run(base_dir), "half")
    assert np.array_equal(found.value, expected_values(found.step)["half"])
    assert np.array_equal(found.step, np.arange(steps - len(found.step), steps))
    held = points_of(Run(moved), "half")
    assert np.array_equal(held.value, expected_values(held.step)["half"])
    assert np.array_equal(held.step, np.arange(len(held.step)))
    assert len(held.step) + len(found.step) >= steps


def test_run_deleted_while_it_is_live_is_gone_and_hurts_nobody(keeper, base_dir):
    trainer = keeper.trainer(base_dir, TRAINING)
    wait_until(lambda: stored(base_dir) > 300)
    run = only_run(base_dir)

    assert ExperimentManager(base_dir).delete_experiment(run.id)

    assert not run.folder.exists()
    trainer.wait_returned(trainer.returned() + 500)
    trainer.go()
    trainer.succeed()
    assert_never_delayed(trainer)
    wait_until(lambda: not any((base_dir / ".ntrack" / "outbox").iterdir()))
    assert list_runs(base_dir) == []
    (removed,) = verify_base(base_dir).runs
    (session,) = removed.sessions
    assert (removed.removed, session.gaps) == (True, [(1, session.n, "run_deleted")])
    assert session.n > trainer.returned()
    assert verify_base(base_dir).exit_code == 0


def test_clock_that_jumps_is_only_data(keeper, base_dir, tmp_path, rng):
    clock = Clock(tmp_path / "clock")
    trainer = keeper.trainer(base_dir, TRAINING, environment=clock.environment)
    collector = keeper.collector_of(base_dir)
    trainer.wait_returned(100, ACKNOWLEDGED)

    for _ in range(rounds(3, 60)):
        clock.set_offset(rng.uniform(-30 * 24 * HOUR, 2 * HOUR))
        trainer.run_for(rng.uniform(0.0, 0.6))
    clock.set_offset(-24 * HOUR)
    collector.wait_ready()
    collector.kill()

    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)
    assert np.any(np.diff(only_run(base_dir).metric("half").time_ns) < 0)
    assert only_run(base_dir).status == "completed"

"""Power fails at a random moment: acknowledged events are stored, and no file claims more than there is."""

import signal

import numpy as np
import psutil
import pytest

from neural.tracking.reader.run_list import list_runs
from tests.faults.harness import rounds
from tests.faults.outcome import points, verify, wait_settled
from tests.faults.power_cut import Power
from tests.faults.training import ACKNOWLEDGED, TRAINING, expected_values
from tests.patience import LONG, wait_until

MOMENTS = ["while it trains", "around its end", "after the store worker died"]
ENDING = TRAINING.replace("tracker.finish(timeout=120)", "tracker.finish(timeout=120); time.sleep(60)")


def anything_emitted(base_dir):
    """Return whether the disk has a session; a run that was never acknowledged may be missing."""
    return any(base_dir.glob(".ntrack/outbox/*")) or any(base_dir.glob("*_*/events-*.jsonl"))


def assert_as_promised(base_dir, acknowledged):
    """Assert that every number up to ``acknowledged`` is stored with its value, every other one or in a gap."""
    sessions = wait_settled(base_dir) if acknowledged or anything_emitted(base_dir) else []
    assert len(sessions) <= 1
    for session in sessions:
        assert session.n >= acknowledged
        assert (session.missing, session.doubled) == ([], [])
        assert all(first > acknowledged for first, _, _ in session.gaps), session
        assert {reason for _, _, reason in session.gaps} <= {"host_lost_power"}
        assert session.open_gap in (None, "host_lost_power")
    for run in list_runs(base_dir):
        for name in ("half", "square"):
            for found in points(run, name).values():
                assert np.array_equal(found.value, expected_values(found.step)[name])
    if sessions:
        wait_until(lambda: verify(base_dir) == 0, what="all that the disk told of is accounted for")


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("moment", MOMENTS if LONG else MOMENTS[1:2])
def test_what_was_acknowledged_is_there_when_the_power_comes_back(keeper, base_dir, tmp_path, rng, moment):
    for number in range(rounds(1, 20)):
        here = tmp_path / f"{number}"
        here.mkdir()
        power = Power(here / "shadow")
        trainer = keeper.trainer(here / "runs", ENDING, environment=power.environment)
        collector = keeper.collector_of(here / "runs")
        wait_until((here / "runs").is_dir)
        if rng.random() < 0.8:
            trainer.wait_returned(10, ACKNOWLEDGED)
        trainer.run_for(rng.uniform(0.0, 0.7))
        power.look(here / "runs")
        if moment == "after the store worker died":
            for worker in wait_until(collector.workers):
                collector.end(worker)
        if moment == "around its end":
            trainer.go()
        trainer.run_for(rng.uniform(0.0, 1.0))
        state = power.cut(here / "runs", psutil.Process(trainer.pid))
        acknowledged = trainer.returned(ACKNOWLEDGED)

        for outcome in range(rounds(2, 6)):
            after = here / f"after-{outcome}" / "runs"
            after.parent.mkdir()
            state.make(after, rng)
            process = keeper.run_collector(after)
            assert_as_promised(after, acknowledged)
            process.terminate()
            assert process.wait(120) in (
                0,
                3,
                -signal.SIGTERM,
            )  # if nothing was left, it may still be starting

"""Training processes are killed at random: every event whose call returned is stored once, in order."""

import numpy as np
import pytest

from neural.tracking.reader.run_list import list_runs
from tests.faults.harness import rounds
from tests.faults.outcome import Points, points, verify, wait_settled
from tests.patience import wait_until

AT_ONCE = 3

# The pace changes, so that kills happen in bursts, at changes of segment and between calls.
LOGGING = """
import random, time
from neural.tracking import ExperimentTracker
rng = random.Random(_os.environ["SEED"])
def log_on(slot):
    burst = 0
    for i in range(10**9):
        tracker.log_metrics({"half": i / 2, "square": i * i}, step=i)
        returned[slot] = i + 1
        burst -= 1
        if burst < 0:
            if go_requested():
                return
            burst = rng.choice((0, 10, 300, 10_000))
            time.sleep(rng.uniform(0, 0.02))
"""
TRAINER = (
    LOGGING
    + """
ready()  # from here on it may be killed: also in the constructor
tracker = ExperimentTracker(_os.environ["NAME"], base_dir)
log_on(0)
"""
)
WITH_CHILD = (
    LOGGING
    + """
tracker = ExperimentTracker(_os.environ["NAME"], base_dir)
if _os.fork():
    ready()
    log_on(0)
else:
    log_on(1)
    tracker.finish()
"""
)


class Trainers:
    """Trainings that run at once with one ``base_dir``, each with a run of its own."""

    def __init__(self, keeper, base_dir, rng):
        self._keeper, self._base_dir, self._chance = keeper, base_dir, rng
        self.by_name = {}

    def start(self, body=TRAINER, **environment):
        for _ in range(AT_ONCE):
            name = f"trainer-{len(self.by_name)}"
            seen = {"NAME": name, "SEED": str(self._chance.random()), **environment}
            self.by_name[name] = self._keeper.trainer(self._base_dir, LOGGING + body, environment=seen)

    def kill(self):
        fresh = [trainer for trainer in self.by_name.values() if trainer.process.poll() is None]
        for trainer in fresh:
            trainer.wait_ready()
        fresh[0].wait_returned(1)  # those killed in the constructor leave nothing
        for trainer in fresh:
            trainer.kill_within(0.0, 0.4, self._chance)

    def assert_all_stored(self):
        wait_settled(self._base_dir)
        assert verify(self._base_dir) == 0
        runs = {run.name: run for run in list_runs(self._base_dir)}
        for name, trainer in self.by_name.items():
            for slot, role in enumerate(("opener", "child")):
                if name in runs or trainer.returned(slot):  # otherwise it was killed in the constructor
                    assert_exactly(runs[name], role, trainer.returned(slot))


def assert_exactly(run, role, returned):
    """Assert that every call's values are stored once, in order; one unreported call may be stored, too."""
    half, square = (points_of_role(run, metric, role) for metric in ("half", "square"))
    stored = len(half.step)
    assert returned <= stored <= returned + 1
    assert np.array_equal(half.step, np.arange(stored))
    assert np.array_equal(half.value, np.arange(stored) / 2)
    assert np.array_equal(square.seq, half.seq)
    assert np.array_equal(square.value, np.arange(stored, dtype=float) ** 2)


def points_of_role(run, metric, role):
    nothing = Points(*(np.empty(0),) * 3)
    found = points(run, metric)
    return next((found[s] for s in found if run.facts.sessions[s].role == role), nothing)


@pytest.fixture
def trainers(keeper, base_dir, rng):
    return Trainers(keeper, base_dir, rng)


def test_killed_while_the_collector_runs(trainers, keeper, base_dir):
    keeper.run_collector(base_dir)
    for _ in range(rounds(1, 12)):
        trainers.start()
        trainers.kill()

    trainers.assert_all_stored()


def test_killed_after_the_collector_was(trainers, keeper, base_dir):
    collector = keeper.collector_of(base_dir)
    for _ in range(rounds(1, 12)):
        keeper.run_collector(base_dir)
        trainers.start(NTRACK_MODE="offline")  # they start none themselves
        collector.wait_running()
        collector.kill_all()
        trainers.kill()

    keeper.run_collector(base_dir)
    trainers.assert_all_stored()


def test_killed_before_any_collector_was_started(trainers, keeper, base_dir):
    for _ in range(rounds(1, 12)):
        trainers.start(NTRACK_MODE="offline")
        trainers.kill()

    keeper.run_collector(base_dir)
    trainers.assert_all_stored()


def test_killed_while_a_forked_child_goes_on(trainers, keeper, base_dir):
    keeper.run_collector(base_dir)
    for _ in range(rounds(1, 12)):
        trainers.start(WITH_CHILD)
        trainers.kill()

    for trainer in trainers.by_name.values():
        killed_at = trainer.returned(1)
        wait_until(lambda t=trainer, n=killed_at: t.returned(1) > n + 300, what="the child goes on")
        trainer.go()
    trainers.assert_all_stored()

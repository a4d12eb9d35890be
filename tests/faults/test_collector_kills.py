"""The collector is killed during a training, at random and at every step that makes data durable."""

import pytest

from neural.tracking.api.run_list import start_delivery
from neural.tracking.state.control_client import request
from neural.tracking.state.outbox_list import list_outboxes
from tests.faults.harness import rounds
from tests.faults.outcome import verify, wait_settled
from tests.faults.training import TRAINING, assert_stored, finish_undisturbed
from tests.patience import PATIENCE_S, wait_until

RESTING = """
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("training", base_dir)
assert tracker.flush(120)
ready()
wait_for_go()
tracker.log_metrics({"loss": 0.5})
returned[0] = tracker.flush(120)
"""

ENDING = """
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("training", base_dir)
assert tracker.flush(120)
ready()
wait_for_go()
tracker.log_metrics({"loss": 0.5})
tracker.finish(timeout=1)
"""


@pytest.mark.timeout(1800)
def test_killed_at_random_it_comes_back_by_itself(keeper, base_dir, rng):
    trainer = keeper.trainer(base_dir, TRAINING)
    collector = keeper.collector_of(base_dir)

    for _ in range(rounds(4, 200)):
        collector.wait_ready()
        trainer.run_for(rng.uniform(0.0, 0.7))
        assert collector.kill()

    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)


def test_killed_while_nothing_is_on_its_way_it_is_started_for_the_next_event(keeper, base_dir):
    trainer = keeper.trainer(base_dir, RESTING)
    collector = keeper.collector_of(base_dir)
    trainer.wait_ready()
    assert collector.kill()

    trainer.go()

    trainer.succeed()
    assert trainer.returned()


def test_killed_before_all_is_stored_of_trainings_that_ended_it_is_started_by_whoever_looks(keeper, base_dir):
    trainer = keeper.trainer(base_dir, ENDING)
    collector = keeper.collector_of(base_dir)
    trainer.wait_ready()
    store = collector.store()
    store.suspend()
    trainer.go()
    trainer.succeed()
    wait_until(lambda: not list_outboxes(collector.state), what="all is acknowledged")
    collector.suspend()  # while it does not start a new store
    collector.end(store)  # first, because the kernel resumes suspended processes when their session leader dies
    collector.kill()
    assert verify(base_dir) == 3

    # A worker that was being spawned at that moment holds the lock, too, until it is another program.
    wait_until(lambda: start_delivery(base_dir), what="a collector is started")

    wait_settled(base_dir)
    assert verify(base_dir) == 0
    collector.wait_ready()  # all may be stored before it listens
    request(collector.state, "stop", timeout_s=PATIENCE_S)
    wait_until(lambda: collector.process() is None)
    assert not start_delivery(base_dir)

"""Many collectors at once, many ranks without one, locks without effect: one collector runs."""

import json
import time

import numpy as np
import psutil

from tests.faults.harness import rounds
from tests.faults.injection import Faults
from tests.faults.outcome import only_run, points, verify, wait_settled
from tests.faults.training import BURST, TRAINING, assert_stored, expected_values, finish_undisturbed
from tests.patience import wait_until

COLLECTORS, RANKS = 20, 8


def running(base_dir):
    """Return the running collectors of this folder, with and without the lock."""
    found = psutil.process_iter(["cmdline"])
    told = [(process.info["cmdline"] or [], process) for process in found]
    return [
        process for words, process in told if str(base_dir) in words and "neural.tracking.collector" in words
    ]


def test_of_many_collectors_one_runs_and_the_rest_leave_with_code_0(keeper, base_dir):
    started = [keeper.run_collector(base_dir) for _ in range(COLLECTORS)]

    wait_until(lambda: sum(one.poll() is None for one in started) == 1, what="all but one have left")
    one = keeper.collector_of(base_dir).wait_ready()

    assert sorted(process.poll() or 0 for process in started) == [0] * COLLECTORS
    assert [process.pid for process in started if process.poll() is None] == [one.pid]
    trainer = keeper.trainer(base_dir, BURST, environment={"STEPS": "100", "FINISH_S": "120"})
    trainer.succeed()
    assert_stored(base_dir, 100)


def test_ranks_that_each_find_none_start_one_and_share_a_run(keeper, base_dir, tmp_path):
    faults = Faults(tmp_path / "faults")
    told = faults.environment(record="neural.tracking.collector run")
    told |= {"NTRACK_RUN_ID": "job", "WORLD_SIZE": str(RANKS), "STEPS": "300", "FINISH_S": "120"}

    ranks = [keeper.trainer(base_dir, BURST, environment={**told, "RANK": str(rank)}) for rank in range(RANKS)]
    for rank in ranks:
        rank.succeed()

    assert len({pid for pid, _, path in faults.calls() if path.endswith("endpoint.json")}) == 1
    assert len(wait_settled(base_dir)) == RANKS
    columns = only_run(base_dir).metric("half", ranks="all")
    for rank in range(RANKS):
        own = columns.take(np.flatnonzero(columns.rank == rank))
        assert own.step.tolist() == list(range(300))
        assert np.array_equal(own.value, expected_values(own.step)["half"])
    assert len(points(only_run(base_dir), "half")) == RANKS
    assert verify(base_dir) == 0


def test_lock_that_names_another_living_process_keeps_none_from_starting(keeper, base_dir):
    collector = keeper.collector_of(base_dir)
    keeper.run_collector(base_dir)
    collector.wait_ready()
    dead = collector.kill()
    told = json.loads(collector.state.lock.read_bytes())
    collector.state.lock.write_text(json.dumps({**told, "pid": keeper.start(["sleep", "60"]).pid}))
    assert collector.state.data_socket.exists()
    assert collector.state.endpoint_file.exists()

    trainer = keeper.trainer(base_dir, BURST, environment={"STEPS": "100", "FINISH_S": "120"})
    trainer.succeed()

    assert collector.wait_ready().pid != dead
    assert_stored(base_dir, 100)


def test_suspended_collector_is_never_doubled(keeper, base_dir):
    trainer = keeper.trainer(base_dir, TRAINING)
    collector = keeper.collector_of(base_dir)
    one = collector.wait_ready()
    one.suspend()

    until = time.monotonic() + rounds(3, 30)
    while time.monotonic() < until:
        assert keeper.run_collector(base_dir).wait(120) == 0
        assert [process.pid for process in running(base_dir)] == [one.pid]

    one.resume()
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)

"""A base_dir on a network file system: lock, log and outboxes are local; two hosts share a run."""

import shutil

import numpy as np
import pytest

from neural.tracking.state.paths import State
from tests.faults.harness import Collector, rounds
from tests.faults.outcome import only_run, verify, wait_settled
from tests.faults.training import TRAINING, assert_stored, expected_values, finish_undisturbed


@pytest.fixture
def network(monkeypatch, base_dir):
    """Return the state folder of a base_dir that counts as on a network file system; remove it at the end."""
    monkeypatch.setenv("NTRACK_FS", "network")
    state = State.for_base_dir(base_dir)
    yield state
    Collector(base_dir, state).kill_all()
    shutil.rmtree(state.root, ignore_errors=True)


def test_nothing_but_runs_is_made_there(keeper, base_dir, network):
    trainer = keeper.trainer(base_dir, TRAINING, environment={"NTRACK_FS": "network"})
    Collector(base_dir, network).wait_ready()
    trainer.wait_returned(300)

    steps = finish_undisturbed(trainer)

    assert_stored(base_dir, steps)
    assert not network.root.is_relative_to(base_dir)
    assert {path.name for path in network.root.iterdir()} >= {"collector.lock", "log", "outbox", "cursors"}
    assert sorted(base_dir.iterdir()) == sorted([base_dir / ".ntrack", only_run(base_dir).folder])
    assert list((base_dir / ".ntrack").iterdir()) == []


def test_collectors_of_two_hosts_share_a_run(keeper, base_dir, tmp_path, monkeypatch, rng):
    hosts = [tmp_path / "host-a", tmp_path / "host-b"]
    job = {"NTRACK_RUN_ID": "job", "WORLD_SIZE": "2"}
    trainers, collectors = [], []
    for rank, host in enumerate(hosts):
        environment = {**job, "RANK": str(rank), "NTRACK_STATE_DIR": str(host)}
        trainers.append(keeper.trainer(base_dir, TRAINING, environment=environment))
        monkeypatch.setenv("NTRACK_STATE_DIR", str(host))
        collectors.append(keeper.collector_of(base_dir))

    for _ in range(rounds(2, 40)):
        collector = rng.choice(collectors)
        collector.wait_ready()
        trainers[0].run_for(rng.uniform(0.0, 0.5))
        collector.kill()

    steps = [finish_undisturbed(trainer) for trainer in trainers]
    assert len(wait_settled(base_dir)) == 2
    run = only_run(base_dir)
    assert len(list(run.folder.glob("ledger-*.json"))) == 2
    columns = run.metric("half", ranks="all")
    for rank, count in enumerate(steps):
        own = columns.take(np.flatnonzero(columns.rank == rank))
        assert np.array_equal(own.step, np.arange(count))
        assert np.array_equal(own.value, expected_values(own.step)["half"])
    assert verify(base_dir) == 0
    assert run.status == "completed"

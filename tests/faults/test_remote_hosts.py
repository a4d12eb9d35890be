"""Ranks on three other hosts log into one run, over a network that is cut, lossy and slow."""

from pathlib import Path

import numpy as np
import pytest

from tests.faults.harness import rounds
from tests.faults.outcome import only_run, verify, wait_settled
from tests.faults.remote import NET, PORT, Hosts, Remote, finish_stored, needs_hosts, needs_netem
from tests.faults.training import TRAINING, expected_values
from tests.patience import wait_until

RANKS = 3

pytestmark = needs_hosts


@pytest.fixture
def hosts():
    made = Hosts(RANKS + 1)
    yield made
    made.remove()


@pytest.fixture
def far(hosts, keeper, tmp_path):
    """Return a collector on host 0."""
    made = Remote(keeper, tmp_path, listen=f"tcp://{NET}.1:{PORT}", prefix=hosts.prefix(0))
    made.allow(me=made.user)
    return made.start()


def start_ranks(keeper, far, hosts, tmp_path):
    job = {"NTRACK_RUN_ID": "job", "WORLD_SIZE": str(RANKS)}
    return [
        keeper.trainer(
            tmp_path / f"host-{rank + 1}" / "runs",
            TRAINING,
            environment=far.environment(**job, RANK=str(rank)),
            prefix=hosts.prefix(rank + 1),
        )
        for rank in range(RANKS)
    ]


def assert_all_there(base_dir, steps):
    """Assert that every step of each rank is stored once, with its values, in one run."""
    sessions = wait_settled(base_dir)
    assert [(s.gaps, s.missing, s.doubled) for s in sessions] == [([], [], [])] * RANKS
    run = only_run(base_dir)
    columns = run.metric("half", ranks="all")
    for rank, count in enumerate(steps):
        own = columns.take(np.flatnonzero(columns.rank == rank))
        assert np.array_equal(own.step, np.arange(count))
        assert np.array_equal(own.value, expected_values(own.step)["half"])
    assert run.status == "completed"
    assert verify(base_dir) == 0


def assert_nothing_stayed(tmp_path):
    """Assert that the ranks' hosts have no outbox and never had a collector."""
    for rank in range(RANKS):
        state = tmp_path / f"host-{rank + 1}" / "runs" / ".ntrack"
        wait_until(lambda outboxes=state / "remote-outbox": not any(outboxes.iterdir()))
        assert not (state / "log").exists()


@pytest.mark.timeout(3600)
def test_cables_pulled_and_collector_killed_again_and_again_end_exactly_once(keeper, far, hosts, tmp_path, rng):
    trainers = start_ranks(keeper, far, hosts, tmp_path)
    wait_until(lambda: far.status()["events_total"] > 100 * RANKS, what="all ranks are heard")

    for number in range(rounds(3, 60)):
        cut = rng.randrange(1, RANKS + 1)
        hosts.cut(cut)
        if number % 2:
            far.collector.kill()
            trainers[0].run_for(rng.uniform(0.0, 1.0))
            far.start()
        trainers[cut - 1].run_for(rng.uniform(0.2, 3.0))
        hosts.reconnect(cut)
        for _ in range(rng.randrange(5)):  # packets lost in bursts
            hosts.cut(cut)
            trainers[0].run_for(0.05)
            hosts.reconnect(cut)
            trainers[0].run_for(0.1)

    steps = [finish_stored(trainer) for trainer in trainers]
    assert_all_there(far.base_dir, steps)
    assert_nothing_stayed(tmp_path)


@pytest.mark.faults_long
def test_host_that_never_comes_back_leaves_no_connection_behind(keeper, far, hosts, tmp_path):
    trainers = start_ranks(keeper, far, hosts, tmp_path)
    wait_until(lambda: far.status()["events_total"] > 100 * RANKS, what="all ranks are heard")
    pid = far.collector.wait_running().pid
    before = established(pid)

    hosts.cut(1)

    wait_until(lambda: established(pid) == before - 1, what="its connection is given up")
    hosts.reconnect(1)
    steps = [finish_stored(trainer) for trainer in trainers]
    assert_all_there(far.base_dir, steps)


def established(pid):
    """Return how many TCP connections there are on the host of a process."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[3] == "01" for line in lines)


@needs_netem
def test_packets_lost_late_repeated_and_disordered_end_exactly_once(keeper, far, hosts, tmp_path):
    for host in range(RANKS + 1):
        hosts.degrade(host, "loss", "10%", "delay", "20ms", "10ms", "duplicate", "5%", "reorder", "20%")

    trainers = start_ranks(keeper, far, hosts, tmp_path)
    wait_until(lambda: far.status()["events_total"] > 300 * RANKS, what="all ranks are heard")
    steps = [finish_stored(trainer) for trainer in trainers]

    assert_all_there(far.base_dir, steps)

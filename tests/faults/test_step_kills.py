"""Collector and store are killed before each step that makes data durable, from the first to the last.

They deliver the outbox of an ended training. A test records the steps of one collector from its start to its
regular end. Then a collector is killed at each of these steps, and the next collector must complete the work.
"""

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.injection import Faults, kill_at
from tests.faults.keeper import Keeper
from tests.faults.training import BURST, assert_stored, delivered
from tests.patience import LONG, wait_until

COLLECTOR, WORKER = "neural.tracking.collector run", "neural.tracking.collector.workers.worker store"
DURABLE = ("fdatasync", "fsync", "rename", "unlink")
STEPS = 2000
SAMPLE = 6
AT_ONCE = 4


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """Return a base_dir in which a training left all that it logged in its outbox."""
    folder = tmp_path_factory.mktemp("waiting")
    keeper = Keeper(folder)
    trainer = keeper.trainer(
        folder / "runs", BURST, environment={"NTRACK_MODE": "offline", "STEPS": str(STEPS)}
    )
    trainer.succeed()
    return folder / "runs"


@pytest.fixture(scope="module")
def calls(waiting, tmp_path_factory):
    """Return the number of durable steps of collector and worker without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    keeper, faults = Keeper(folder), Faults(folder / "faults")
    base_dir = shutil.copytree(waiting, folder / "runs")
    collector = keeper.run_collector(base_dir, environment=faults.environment(record="neural.tracking"))
    try:
        wait_until(lambda: delivered(base_dir))
        worker = keeper.collector_of(base_dir).store().pid
        collector.terminate()
        assert collector.wait(120) == 0
    finally:
        keeper.end()
    pids = [pid for pid, _, _ in faults.calls()]
    return {COLLECTOR: pids.count(collector.pid), WORKER: pids.count(worker)}


def chosen(total, rng):
    """Return the steps to kill at: all in the long form, otherwise the first, the last and some between."""
    every = range(1, total + 1)
    return every if LONG else sorted({1, total, *rng.sample(every, SAMPLE - 2)})


def survives(keeper, base_dir, only, step):
    """Kill at the step, start again, assert that all is stored once; return whether the step was reached."""
    faults, rule = Faults(base_dir.parent / "faults"), kill_at(DURABLE, step, only=only)
    collector = keeper.run_collector(base_dir, environment=faults.environment(rule))
    wait_until(lambda: collector.poll() is not None or delivered(base_dir))
    collector.terminate()
    assert collector.wait(120) in (0, -signal.SIGKILL)
    if only == COLLECTOR and faults.fired(rule):
        collector = keeper.run_collector(base_dir)
        wait_until(lambda: delivered(base_dir))
        collector.terminate()
        assert collector.wait(120) == 0
    assert_stored(base_dir, STEPS)
    assert [path for path in base_dir.rglob("*tmp*") if not path.name.startswith(".tmp-")] == []
    return bool(faults.fired(rule))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("only", [COLLECTOR, WORKER], ids=["collector", "worker"])
def test_killed_before_a_step_the_next_life_makes_it_good(keeper, waiting, calls, tmp_path, rng, only):
    reached, failed = [], []

    def one(step):
        base_dir = shutil.copytree(waiting, tmp_path / f"{step}" / "runs")
        try:
            reached.append(survives(keeper, base_dir, only, step))
        except Exception as error:  # noqa: BLE001 - told below, with those of the other steps
            failed.append(f"killed at step {step} of {calls[only]}: {error!r}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, chosen(calls[only], rng)))

    assert not failed, "\n".join(failed)
    assert any(reached)  # the number of syncs depends on the speed of the machine

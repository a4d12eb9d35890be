"""A remote training dies, is cut off or falls silent: nothing is lost, and the collector reports it."""

import json
import sys

import psutil
import pytest

from neural.tracking import ExperimentManager
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.outbox_list import list_remote_outboxes
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.faults.harness import Collector
from tests.faults.outcome import only_run, points_of, verify, wait_settled
from tests.faults.proxy import ByteProxy
from tests.faults.remote import finish_stored
from tests.faults.training import BURST, TRAINING, assert_complete, assert_stored
from tests.patience import wait_until

WAITING = "import logging; logging.basicConfig()\n" + BURST


NTRACK = [sys.executable, "-P", "-m", "neural.tracking.cli"]


def courier(own_dir):
    """Return the courier's process; None if none runs."""
    state = State.for_base_dir(own_dir)
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "neural.tracking.agent.courier.courier" in words and str(state.root) in words:
            return process
    return None


def left_behind(own_dir):
    return list_remote_outboxes(State.for_base_dir(own_dir))


def test_killed_training_is_delivered_and_failed(keeper, remote, own_dir):
    trainer = keeper.trainer(own_dir, TRAINING, environment=remote.environment())
    trainer.wait_returned(300)
    wait_until(lambda: remote.status()["events_total"] > 100 and courier(own_dir), what="it is under way")

    returned = trainer.kill()

    wait_until(lambda: statuses(remote) == ["failed"], what="the run is failed")
    (session,) = wait_settled(remote.base_dir)
    assert (session.gaps, session.missing, session.doubled) == ([], [], [])
    assert len(points_of(only_run(remote.base_dir), "half").step) >= returned
    assert verify(remote.base_dir) == 0
    wait_until(lambda: not left_behind(own_dir), what="its outbox is removed")


def test_training_that_nobody_could_hear_is_delivered_once_somebody_can(keeper, remote, own_dir):
    remote.collector.kill()
    trainer = keeper.trainer(own_dir, WAITING, environment=remote.environment(STEPS="3000", FINISH_S="1"))
    trainer.succeed()
    assert len(left_behind(own_dir)) == 1

    remote.start()

    assert_stored(remote.base_dir, 3000)
    assert only_run(remote.base_dir).status == "completed"


def test_courier_killed_again_and_again_loses_and_doubles_nothing(keeper, remote, own_dir, rng):
    remote.collector.kill()
    for name in ("first", "second"):
        environment = remote.environment(STEPS="8000", FINISH_S="0.5", NAME=name)
        keeper.trainer(own_dir, WAITING, environment=environment).succeed()
    remote.start()

    for _ in range(3):
        if one := courier(own_dir):
            Collector.end(one)
        launcher = keeper.start(
            [*NTRACK, "outbox", "ls", "--base-dir", own_dir], environment=remote.environment()
        )
        assert launcher.wait(120) == 0
        keeper.start([*NTRACK, "runs", "ls", "--base-dir", own_dir], environment=remote.environment()).wait(120)

    sessions = wait_settled(remote.base_dir)
    assert [(s.gaps, s.missing, s.doubled) for s in sessions] == [([], [], [])] * 2
    # Points, remarks, open and end; metadata only if it was collected in time.
    assert {s.n for s in sessions} <= {8_082, 8_083}
    for run in list_runs(remote.base_dir):
        assert_complete(run, 8_000)
    assert verify(remote.base_dir) == 0


def test_run_removed_while_another_host_logs_to_it_is_told_and_the_next_of_its_id_is_stored(
    keeper, remote, own_dir
):
    job = remote.environment(NTRACK_RUN_ID="job")
    trainer = keeper.trainer(own_dir, TRAINING, environment=job)
    trainer.wait_returned(300)
    wait_until(
        lambda: list_runs(remote.base_dir) and remote.status()["events_total"] > 100, what="it is stored"
    )

    assert ExperimentManager(remote.base_dir).delete_experiment(only_run(remote.base_dir).id)

    trainer.wait_returned(trainer.returned() + 100)
    trainer.go()
    trainer.succeed()
    wait_until(lambda: not left_behind(own_dir), what="its outbox is removed")
    (removed,) = verify_base(remote.base_dir).runs
    (session,) = removed.sessions
    assert (removed.removed, session.gaps) == (True, [(1, session.n, "run_deleted")])
    assert session.n > trainer.returned()
    assert session.open_gap is None

    keeper.trainer(own_dir, BURST, environment={**job, "STEPS": "500"}).succeed()
    wait_until(lambda: list_runs(remote.base_dir) and only_run(remote.base_dir).status == "completed")
    wait_until(lambda: verify_base(remote.base_dir).exit_code == 0, what="nothing is on its way")
    assert_complete(only_run(remote.base_dir), 500)
    assert len(only_run(remote.base_dir).facts.sessions) == 1


def test_outboxes_are_shipped_on_request_where_no_courier_runs(keeper, remote, own_dir):
    remote.collector.kill()
    environment = remote.environment(STEPS="500", FINISH_S="0", NTRACK_MODE="offline")
    keeper.trainer(own_dir, WAITING, environment=environment).succeed()
    assert courier(own_dir) is None
    ship = [*NTRACK, "outbox", "ship", "--base-dir", own_dir]
    early = keeper.start([*ship, "--timeout", "1"], environment=remote.environment())
    assert early.wait(120) == 3

    remote.start()

    late = keeper.start(ship, environment=remote.environment())
    assert late.wait(120) == 0, keeper.output(late)
    assert_stored(remote.base_dir, 500)


def lost_contact(remote):
    """Return for each session whether its contact counts as lost."""
    return [s.lost_contact for run in list_runs(remote.base_dir) for s in run.facts.sessions.values()]


def statuses(remote):
    return [run.status for run in list_runs(remote.base_dir)]


@pytest.fixture
def quick_to_miss(remote):
    """Let the collector count a session as lost after 2 silent seconds."""
    remote.collector.kill()
    remote.state.config_file.write_text("[collector]\nlost_contact_s = 2\n")
    return remote.start()


def test_silent_training_is_lost_from_sight_keeps_its_status_and_comes_back(keeper, quick_to_miss, own_dir):
    remote = quick_to_miss
    trainer = keeper.trainer(own_dir, TRAINING, environment=remote.environment())
    wait_until(lambda: remote.status()["events_total"] > 100, what="it is connected")

    trainer.suspend()
    wait_until(lambda: lost_contact(remote) == [True], what="it is noted as lost")
    assert remote.status()["sessions"][0]["state"] == "lost contact"
    assert only_run(remote.base_dir).status == "running"
    trainer.resume()

    wait_until(lambda: lost_contact(remote) == [False], what="it is noted as back")
    assert_stored(remote.base_dir, finish_stored(trainer))


def test_contact_lost_before_and_found_after_a_new_collector_is_noted(keeper, quick_to_miss, own_dir):
    remote = quick_to_miss
    trainer = keeper.trainer(own_dir, TRAINING, environment=remote.environment())
    wait_until(lambda: remote.status()["events_total"] > 100, what="it is connected")
    trainer.suspend()
    wait_until(lambda: lost_contact(remote) == [True], what="it is noted as lost")

    remote.collector.kill()
    remote.start()
    trainer.resume()

    wait_until(lambda: lost_contact(remote) == [False], what="it is noted as back")
    assert_stored(remote.base_dir, finish_stored(trainer))


def test_quiet_training_that_logs_nothing_for_long_is_not_lost(keeper, remote, own_dir, monkeypatch):
    quiet = """
from neural.tracking import ExperimentTracker
from neural.tracking.agent.send import protocol
protocol.ALIVE_S = 0.5
tracker = ExperimentTracker("training", base_dir)
tracker.log_metrics({"half": 0.0}, step=0)
ready()
wait_for_go()
tracker.finish(timeout=120)
"""
    remote.collector.kill()
    remote.state.config_file.write_text("[collector]\nlost_contact_s = 3\n")
    remote.start()
    trainer = keeper.trainer(own_dir, quiet, environment=remote.environment())
    trainer.wait_ready()

    trainer.run_for(6.0)

    wait_until(lambda: lost_contact(remote) == [False], what="its run is there, and it is not noted as lost")
    assert remote.status()["sessions"][0]["state"] == "connected"
    trainer.go()
    trainer.succeed()


def test_slow_line_is_not_flooded_and_arrives(keeper, remote, own_dir):
    # A batch of 1 MiB takes longer than a connection may be silent, so nothing would ever arrive.
    host, _, port = remote.address.removeprefix("tcp://").rpartition(":")
    proxy = ByteProxy(("127.0.0.1", 0), (host, int(port)))
    proxy.bytes_per_s = 64_000
    try:
        remote.trust(remote.pair, f"127.0.0.1:{proxy.port}")
        environment = remote.environment(STEPS="16000", FINISH_S="120")
        environment["NTRACK_COLLECTOR"] = f"tcp://127.0.0.1:{proxy.port}"
        keeper.trainer(own_dir, BURST, environment=environment).succeed()
        assert proxy.connections_total == 1, "the line was given up for dead"
    finally:
        proxy.close()

    assert_stored(remote.base_dir, 16_000)


def test_no_collector_of_this_host_takes_what_goes_to_another(keeper, remote, own_dir):
    remote.collector.kill()
    environment = remote.environment(STEPS="500", FINISH_S="0", NTRACK_MODE="offline")
    keeper.trainer(own_dir, BURST, environment=environment).succeed()

    keeper.run_collector(own_dir)
    keeper.collector_of(own_dir).wait_ready()
    keeper.trainer(own_dir, BURST, environment={"STEPS": "10", "FINISH_S": "120", "NAME": "here"}).succeed()

    (left,) = left_behind(own_dir)
    assert left.collector == remote.address
    assert not left.live
    names = [json.loads(path.read_text())["experiment_name"] for path in own_dir.glob("*/metadata.json")]
    assert names == ["here"]

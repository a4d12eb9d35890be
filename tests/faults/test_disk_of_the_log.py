"""The collector's disk is full, read-only or fails to sync: only durable events are acknowledged."""

import errno
import os
import re

import pytest

from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from tests.faults.disks import needs_namespaces
from tests.faults.harness import rounds
from tests.faults.injection import Faults, fail_at
from tests.faults.training import ACKNOWLEDGED, TRAINING, assert_stored, finish_undisturbed
from tests.integration.collector.peer import LogContent
from tests.patience import LONG, wait_until

COLLECTOR = "neural.tracking.collector run"


def disk_told(base_dir):
    """Return the disk's state from ``status``; an empty one while no collector answers."""
    try:
        return request(State.for_base_dir(base_dir), "status")["disk"]
    except CollectorUnreachableError:
        return {"state": "", "error": None}


def diary_of(base_dir):
    """Return the text of collector.log; empty before the collector writes."""
    daemon_log = State.for_base_dir(base_dir).daemon_log
    return daemon_log.read_text() if daemon_log.exists() else ""


def in_log(folder):
    """Return the number of events in the segments of ``folder``, each number counted once."""
    content = LogContent(folder)
    return sum(len(set(numbers)) for numbers in content.numbers.values())


def wait_acknowledged(trainer):
    """Wait until the collector has acknowledged an event that was logged from now on."""
    before = trainer.returned(ACKNOWLEDGED)
    trainer.wait_returned(before + 10, ACKNOWLEDGED)


@needs_namespaces
def test_full_disk_stops_acknowledging_until_there_is_room(keeper, base_dir):
    disk = keeper.small_disk(base_dir / ".ntrack" / "log", 8 << 20)
    trainer = keeper.trainer(base_dir, TRAINING, disk=disk)
    wait_acknowledged(trainer)

    ballast = disk.fill()
    told = wait_until(lambda: (told := disk_told(base_dir))["state"] == "full" and told)
    trainer.wait_returned(trainer.returned() + 500)  # an earlier acknowledgement may still be on its way
    stood_at = trainer.returned(ACKNOWLEDGED)
    trainer.wait_returned(trainer.returned() + 500)

    assert told["error"].startswith("ENOSPC")
    assert trainer.returned(ACKNOWLEDGED) == stood_at <= in_log(disk.outside())
    ballast.unlink()
    wait_acknowledged(trainer)
    assert disk_told(base_dir) == {"state": "ok", "error": None}
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)


@needs_namespaces
def test_killed_on_a_full_disk_what_was_acknowledged_is_there(keeper, base_dir):
    disk = keeper.small_disk(base_dir / ".ntrack" / "log", 8 << 20)
    trainer = keeper.trainer(base_dir, TRAINING, disk=disk)
    collector = keeper.collector_of(base_dir)
    wait_acknowledged(trainer)
    ballast = disk.fill()
    wait_until(lambda: disk_told(base_dir)["state"] == "full")

    collector.kill_all()
    acknowledged = trainer.returned(ACKNOWLEDGED)
    trainer.suspend()

    assert 0 < acknowledged <= in_log(disk.outside())
    trainer.resume()
    ballast.unlink()
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)


@needs_namespaces
def test_log_folder_that_is_read_only_delays_and_loses_nothing(keeper, base_dir):
    disk = keeper.bound_disk(base_dir / ".ntrack" / "log")
    trainer = keeper.trainer(base_dir, TRAINING, disk=disk)
    wait_until(lambda: "Read-only file system" in diary_of(base_dir))
    trainer.wait_returned(500)
    assert trainer.returned(ACKNOWLEDGED) == 0

    disk.set_read_only(False)

    wait_acknowledged(trainer)
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)


@pytest.mark.parametrize("error", ["EROFS", "ENOSPC", "EDQUOT"] if LONG else ["EROFS"])
def test_sync_that_finds_no_room_is_tried_again_and_loses_nothing(keeper, base_dir, tmp_path, error):
    faults = Faults(tmp_path / "faults")
    rule = fail_at(["fdatasync"], 4, error, times=1, only=COLLECTOR, loses=True)
    trainer = keeper.trainer(base_dir, TRAINING, environment=faults.environment(rule))
    stopped = rf"log stopped acknowledging with \d+ bytes held: .*{os.strerror(getattr(errno, error))}"

    # Not the status: the disk is full for 5 s only, and the test may miss that.
    wait_until(lambda: re.search(stopped, diary_of(base_dir)), what="the collector stops acknowledging")

    assert trainer.returned(ACKNOWLEDGED) <= in_log(base_dir / ".ntrack" / "log")
    wait_until(lambda: disk_told(base_dir)["state"] == "ok")
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)
    assert len(faults.fired(rule)) == 1


def test_failed_sync_ends_the_collector_and_what_it_lost_is_sent_again(keeper, base_dir, tmp_path, rng):
    faults = Faults(tmp_path / "faults")
    trainer = keeper.trainer(base_dir, TRAINING, environment={"NTRACK_MODE": "offline"})
    rules = []

    for _ in range(rounds(3, 40)):
        rules.append(fail_at(["fdatasync"], rng.randrange(1, 8), "EIO", only=COLLECTOR, loses=True))
        collector = keeper.run_collector(base_dir, environment=faults.environment(rules[-1]))
        assert collector.wait(120) == 1, keeper.output(collector)
        assert trainer.returned(ACKNOWLEDGED) <= in_log(base_dir / ".ntrack" / "log")

    keeper.run_collector(base_dir)
    wait_acknowledged(trainer)
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)
    assert all(faults.fired(rule) for rule in rules)

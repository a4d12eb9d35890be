"""The disk of the run folders is full or fails to sync: the log keeps everything meanwhile."""

import json
import sys

import pytest

from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from tests.faults.disks import needs_namespaces
from tests.faults.dropping import DROPPING, end_exactly, limit_outbox, wait_dropping, wait_keeping
from tests.faults.injection import Faults, fail_at
from tests.faults.training import ACKNOWLEDGED, TRAINING, assert_stored, finish_undisturbed
from tests.patience import LONG, wait_until

WORKER = "neural.tracking.collector.workers.worker store"


def store_told(base_dir):
    """Return the store's state from ``status``; without errors while no collector answers."""
    try:
        worker, *_ = request(State.for_base_dir(base_dir), "status")["workers"]
    except CollectorUnreachableError:
        return {"restarts": 0, "last_error": None}
    return worker


@needs_namespaces
@pytest.mark.parametrize("scarce", ["bytes", "inodes"])
def test_no_room_for_runs_delays_them_and_the_rest_goes_on(keeper, base_dir, tmp_path, monkeypatch, scarce):
    monkeypatch.setenv("NTRACK_STATE_DIR", str(tmp_path / "state"))
    disk = keeper.small_disk(base_dir, 8 << 20, inodes=200)
    elsewhere = {"NTRACK_STATE_DIR": str(tmp_path / "state")}
    trainer = keeper.trainer(base_dir, TRAINING, disk=disk, environment=elsewhere)
    trainer.wait_returned(100, ACKNOWLEDGED)

    taken = [disk.fill()] if scarce == "bytes" else take_inodes(disk)
    told = wait_until(lambda: store_told(base_dir)["last_error"])
    trainer.wait_returned(trainer.returned() + 500, ACKNOWLEDGED)

    assert "No space left" in told
    for ballast in taken:
        ballast.unlink()
    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps, disk=disk)


def take_inodes(disk):
    """Create files until no inode is free; return the files."""
    taken = []
    try:
        while True:
            taken.append(disk.outside() / f"ballast-{len(taken)}")
            taken[-1].touch()
    except OSError:
        return taken[:-1]


@pytest.mark.parametrize("nth", range(1, 9) if LONG else [2])
def test_failed_sync_restarts_the_store_writer_and_what_it_lost_is_read_again(keeper, base_dir, tmp_path, nth):
    faults = Faults(tmp_path / "faults")
    rule = fail_at(["fdatasync"], nth, "EIO", only=WORKER, loses=True)
    trainer = keeper.trainer(base_dir, TRAINING, environment=faults.environment(rule))
    wait_until(lambda: store_told(base_dir)["restarts"] >= 2)

    faults.environment()  # processes that start from now on have no faults

    steps = finish_undisturbed(trainer)
    assert_stored(base_dir, steps)
    assert len(faults.fired(rule)) >= 2


def disk_told(disk, base_dir):
    """Return the disk's state from a collector that only processes inside of the namespace can reach."""
    command = [sys.executable, "-P", "-m", "neural.tracking.cli", "status", "--json"]
    told = json.loads(disk.run("sh", "-c", '"$@" || true', "sh", *command, "--base-dir", str(base_dir)))
    return (told["collector"] or {"disk": {"state": ""}})["disk"]["state"]


@needs_namespaces
def test_small_disk_that_the_log_filled_while_the_store_could_not_start_heals_by_itself(
    keeper, base_dir, tmp_path
):
    size = 64 << 20
    disk = keeper.small_disk(base_dir, size)
    faults = Faults(tmp_path / "faults")
    never = fail_at(["open"], 1, "EIO", times=0, only=WORKER)
    limit_outbox(disk.outside(base_dir), 16 << 20)
    environment = {**faults.environment(never), "BURST": "3000"}
    trainer = keeper.trainer(base_dir, DROPPING, disk=disk, environment=environment)
    wait_until(lambda: disk_told(disk, base_dir) == "full", what="the log takes no more")
    wait_dropping(trainer)
    left = disk.free_bytes()

    faults.environment()

    wait_until(lambda: disk_told(disk, base_dir) == "ok", what="the store made room for the log")
    wait_keeping(trainer)
    assert left > size // 40
    end_exactly(trainer, base_dir, disk)

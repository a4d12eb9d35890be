"""The disk of the run folders full, or failing the store writer's syncs: the log keeps everything meanwhile."""

import pytest

from neural.tracking.control import request
from neural.tracking.errors import CollectorUnreachableError
from neural.tracking.state import State
from tests.faults.disks import needs_namespaces
from tests.faults.harness import LONG, wait_until
from tests.faults.injection import Faults, fail_at
from tests.faults.training import ACKNOWLEDGED, TRAINING, assert_stored, end_unhurt

WORKER = "neural.tracking.collector.worker"


def store_told(base_dir):
    """Return what ``status`` says of the store writer; nothing while no collector answers."""
    try:
        (worker,) = request(State.for_base_dir(base_dir), "status")["workers"]
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
    steps = end_unhurt(trainer)
    assert_stored(base_dir, steps, disk=disk)


def take_inodes(disk):
    """Make files until no more can be made; return them."""
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
    wait_until(lambda: store_told(base_dir)["restarts"] >= 2, 20)

    faults.environment()  # whoever starts from now on is left in peace

    steps = end_unhurt(trainer)
    assert_stored(base_dir, steps)
    assert len(faults.fired(rule)) >= 2

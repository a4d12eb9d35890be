"""The outbox is full: the training continues, and the gap names exactly the dropped events."""

import pytest

from tests.faults.disks import needs_namespaces
from tests.faults.dropping import (
    CALLS,
    DROPPED,
    DROPPING,
    end_exactly,
    limit_outbox,
    wait_dropping,
    wait_keeping,
)
from tests.faults.outcome import OUTBOX_FULL, only_run, points_of, verify, wait_settled
from tests.patience import wait_until

MIB = 1 << 20
SLOWLY = {"BURST": "60"}  # so that no spare segment is made before the disk is full


@pytest.fixture
def full(keeper, base_dir):
    """Return a training whose outbox is at its limit, because its collector is suspended."""
    limit_outbox(base_dir, 4 * MIB)
    trainer = keeper.trainer(base_dir, DROPPING)
    trainer.wait_returned(1000, CALLS)
    collector = keeper.collector_of(base_dir)
    collector.wait_ready()
    collector.suspend()
    wait_dropping(trainer)
    return trainer


def test_ended_while_full_the_end_arrives_and_the_gap_is_exact(full, keeper, base_dir):
    full.go()
    keeper.collector_of(base_dir).resume()

    end_exactly(full, base_dir)


def test_killed_while_full_the_gap_is_exact(full, keeper, base_dir):
    calls = full.kill()
    keeper.collector_of(base_dir).resume()

    (session,) = wait_settled(base_dir)
    dropped = sum(last - first + 1 for first, last, _ in session.gaps)
    stored = len(points_of(only_run(base_dir), "half").step)
    assert {reason for _, _, reason in session.gaps} == {OUTBOX_FULL}
    assert full.returned(DROPPED) <= dropped <= full.returned(DROPPED) + 1
    assert calls <= stored + dropped <= calls + 1
    assert verify(base_dir) == 0


def test_blocking_keeps_everything(keeper, base_dir):
    limit_outbox(base_dir, 4 * MIB)
    trainer = keeper.trainer(base_dir, DROPPING, environment={"WHEN_FULL": "block"})
    trainer.wait_returned(1000, CALLS)
    collector = keeper.collector_of(base_dir)
    collector.wait_ready()

    def stands_still():
        before = trainer.returned(CALLS)
        trainer.run_for(1.0)
        return trainer.returned(CALLS) == before

    collector.suspend()
    wait_until(stands_still, what="a call waits for room")
    stopped_at = trainer.returned(CALLS)
    collector.resume()
    trainer.wait_returned(stopped_at + 10_000, CALLS)

    end_exactly(trainer, base_dir)
    assert trainer.returned(DROPPED) == 0


@needs_namespaces
def test_disk_full_and_free_again(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 64 * MIB)
    trainer = keeper.trainer(base_dir, DROPPING, disk=disk, environment=SLOWLY)
    trainer.wait_returned(1000, CALLS)
    keeper.collector_of(base_dir, disk).wait_ready()

    ballast = disk.fill()
    wait_dropping(trainer)
    ballast.unlink()
    wait_keeping(trainer)

    end_exactly(trainer, base_dir, disk)


@needs_namespaces
def test_disk_full_before_the_first_event(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 64 * MIB)
    ballast = disk.fill()
    trainer = keeper.trainer(base_dir, DROPPING, disk=disk, environment=SLOWLY)

    wait_dropping(trainer)
    ballast.unlink()
    wait_keeping(trainer)

    end_exactly(trainer, base_dir, disk, others_dropped=1)  # the metadata, gathered meanwhile


@needs_namespaces
def test_inodes_gone_and_there_again(keeper, base_dir):
    disk = keeper.small_disk(base_dir, 64 * MIB, inodes=500)
    trainer = keeper.trainer(base_dir, DROPPING, disk=disk, environment=SLOWLY)
    trainer.wait_returned(1000, CALLS)
    collector = keeper.collector_of(base_dir, disk)
    collector.wait_ready()

    collector.suspend()  # otherwise it empties the first segment again and again
    ballast = use_up_inodes(disk)
    wait_dropping(trainer)
    for path in ballast:
        path.unlink()
    collector.resume()
    wait_keeping(trainer)

    end_exactly(trainer, base_dir, disk)


def use_up_inodes(disk):
    made = []
    with pytest.raises(OSError, match="No space left"):
        for number in range(500):
            made.append(disk.outside() / f"ballast-{number}")
            made[-1].touch()
    return made[:-1]

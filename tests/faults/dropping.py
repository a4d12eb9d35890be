"""A training that records which of its events were kept, for tests with a full outbox."""

from pathlib import Path

import numpy as np

from tests.faults.disks import Disk
from tests.faults.outcome import OUTBOX_FULL, only_run, points_of, verify, wait_settled
from tests.faults.trainer import Trainer

KEPT_FILE, CALLS, DROPPED, KEPT_SINCE = "kept", 0, 1, 2

# Logs in bursts of BURST calls, 5 ms apart, until `go`. Reports the number of calls, of dropped events, and of
# kept events since the last drop. At the end it writes one byte for each call: kept or not.
DROPPING = f"""
import time
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("full", base_dir, when_full=_os.environ.get("WHEN_FULL"))
kept = bytearray()
while not go_requested():
    for i in range(len(kept), len(kept) + int(_os.environ.get("BURST", 500))):
        kept.append(tracker.log_metrics({{"half": i / 2, "third": i / 3}}, step=i))
        returned[{CALLS}] += 1
        returned[{KEPT_SINCE}] += 1
        if not kept[-1]:
            returned[{DROPPED}] += 1
            returned[{KEPT_SINCE}] = 0
    time.sleep(0.005)
tracker.log_text("remark", "other events have space of their own")
tracker.finish(timeout=120)
base_dir.with_name("{KEPT_FILE}").write_bytes(kept)
"""


def wait_dropping(trainer: Trainer) -> None:
    trainer.wait_returned(1, DROPPED)


def wait_keeping(trainer: Trainer) -> None:
    """Wait until the last 500 calls have dropped nothing."""
    trainer.wait_returned(500, KEPT_SINCE)


def limit_outbox(base_dir: Path, limit_bytes: int) -> None:
    """Set the maximum size of a session's outbox."""
    config = base_dir / ".ntrack" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f"[agent]\noutbox_limit_bytes = {limit_bytes}\n")


def end_exactly(trainer: Trainer, base_dir: Path, disk: Disk | None = None, *, others_dropped: int = 0) -> None:
    """End the training; assert that kept events are stored with their values, and dropped ones are in gaps.

    Args:
        others_dropped: the maximum number of other events in the gaps, which the tracker itself emitted.
    """
    trainer.go()
    trainer.succeed()
    here = disk.outside(base_dir) if disk else base_dir
    (session,) = wait_settled(here)
    assert {reason for _, _, reason in session.gaps} <= {OUTBOX_FULL}
    kept = np.frombuffer(base_dir.with_name(KEPT_FILE).read_bytes(), np.uint8)
    others = sum(last - first + 1 for first, last, _ in session.gaps) - np.count_nonzero(kept == 0)
    assert 0 <= others <= others_dropped
    run = only_run(here)
    half, third = points_of(run, "half"), points_of(run, "third")
    assert np.array_equal(half.step, np.flatnonzero(kept))
    assert np.array_equal(half.value, half.step / 2)
    assert np.array_equal(third.value, half.step / 3)
    assert len(run.texts("remark")) == 1
    assert run.status == "completed"
    assert verify(base_dir, disk) == 0

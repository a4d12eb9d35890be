"""A training whose values follow from their steps, and the check that each is stored exactly once."""

from pathlib import Path

import numpy as np

from neural.tracking.errors import TrackingError
from neural.tracking.reader.run import Run
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.faults.disks import Disk
from tests.faults.outcome import only_run, points, verify, wait_settled
from tests.faults.trainer import Trainer

USUAL_NS, SLOWEST_NS = 1_000_000, 1_000_000_000  # the limits for 99 of 100 steps, and for the slowest
REMARK_EVERY = 100

_LOGGING = f"""
import time
from neural.tracking import ExperimentTracker
def log(tracker, i):
    tracker.log_metrics({{"half": i / 2, "square": i * i}}, step=i)
    if i % {REMARK_EVERY} == 0:
        tracker.log_text("remark", f"at {{i}}", step=i)
"""

# Logs until `go`. returned[0] is the number of steps, returned[ACKNOWLEDGED] the number up to which the
# collector has acknowledged events. At the end the other slots get, in nanoseconds, the time of 99 of 100 steps
# and of the slowest, the same for the pauses of half a millisecond between steps, and whether finish() returned
# True.
USUAL, SLOWEST, STORED, ACKNOWLEDGED, USUAL_PAUSE, LONGEST_PAUSE = range(1, 7)
TRAINING = f"""{_LOGGING}
tracker = ExperimentTracker("training", base_dir)
took, paused, i = [], [], 0
while not go_requested():
    began = time.perf_counter_ns()
    log(tracker, i)
    took.append(time.perf_counter_ns() - began)
    i += 1
    returned[0] = i
    returned[{ACKNOWLEDGED}] = tracker._recorder.session.acknowledged
    began = time.perf_counter_ns()
    time.sleep(0.0005)
    paused.append(time.perf_counter_ns() - began)
for usual, slowest, times in ({USUAL}, {SLOWEST}, took), ({USUAL_PAUSE}, {LONGEST_PAUSE}, paused):
    times.sort()
    returned[usual], returned[slowest] = times[len(times) * 99 // 100], times[-1]
returned[{STORED}] = tracker.finish(timeout=120)
"""

# STEPS steps without a pause, then a finish that by default does not wait.
BURST = f"""{_LOGGING}
tracker = ExperimentTracker(_os.environ.get("NAME", "training"), base_dir)
for i in range(int(_os.environ["STEPS"])):
    log(tracker, i)
    returned[0] = i + 1
tracker.finish(timeout=float(_os.environ.get("FINISH_S", "0")))
"""


def finish_undisturbed(trainer: Trainer) -> int:
    """End a TRAINING; assert that no step was slow and everything is stored; return the number of steps."""
    trainer.go()
    trainer.succeed()
    assert trainer.returned(USUAL) < USUAL_NS + 5 * trainer.returned(USUAL_PAUSE)
    assert_never_delayed(trainer)
    assert trainer.returned(STORED), "finish() did not see everything stored"
    return trainer.returned()


def assert_never_delayed(trainer: Trainer) -> None:
    """Assert that no step of an ended TRAINING took long, except when the machine was busy.

    The length of the pauses between the steps shows how busy the machine was.
    """
    machine_ns = 5 * trainer.returned(LONGEST_PAUSE) + trainer.suspended_ns
    assert trainer.returned(SLOWEST) < SLOWEST_NS + machine_ns


def assert_stored(base_dir: Path, steps: int, *, disk: Disk | None = None) -> None:
    """Assert that all ``steps`` steps of the only run are stored once, with their values, without a gap."""
    host_path = disk.outside(base_dir) if disk else base_dir
    (session,) = wait_settled(host_path)
    assert (session.gaps, session.missing, session.doubled) == ([], [], [])
    assert_complete(only_run(host_path), steps)
    assert verify(base_dir, disk) == 0


def assert_complete(run: Run, steps: int) -> None:
    """Assert that every step's values and remarks are stored once and in order."""
    for name, values in expected_values(np.arange(steps)).items():
        (found,) = points(run, name).values()
        assert np.array_equal(found.step, np.arange(steps))
        assert np.array_equal(found.value, values)
        assert np.all(np.diff(found.seq) > 0)
    assert [text["text"] for text in run.texts("remark")] == [f"at {i}" for i in range(0, steps, REMARK_EVERY)]


def expected_values(steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values that the training logs at these steps, by metric."""
    return {"half": steps / 2, "square": steps.astype(float) ** 2}


def delivered(base_dir: Path) -> bool:
    """Return whether the collector has ended and delivered all sessions, and its cursors are on the disk."""
    state = State.for_base_dir(base_dir)
    try:
        status = request(state, "status")
        if any(state.outbox.iterdir()) or any(
            w["synced"] != status["log"]["durable"] for w in status["workers"] if w["holds_log"]
        ):
            return False
        report = verify_base(base_dir)
    except (OSError, TrackingError):
        return False  # read during a change
    sessions = [session for run in report.runs for session in run.sessions]
    return bool(sessions) and report.exit_code == 0 and all(session.ended for session in sessions)

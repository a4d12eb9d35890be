"""Folders that are moved or removed once a run is stored: nothing makes them again."""

import shutil

from neural.tracking import ExperimentTracker
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base, verify_run
from tests.patience import wait_until


def finished(base_dir, source):
    """Log what makes every worker write, and return the run's folder."""
    source.write_bytes(b"w")
    with ExperimentTracker("exp", base_dir) as tracker:
        for step in range(30):
            tracker.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
        tracker.log_artifact(source)
    return tracker.experiment_dir


def test_run_that_is_moved_right_after_its_end_is_whole_there_and_never_comes_back(tmp_path):
    base_dir, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    first = finished(base_dir, tmp_path / "model")
    moved = shutil.move(first, elsewhere)

    # A later run goes through every worker behind what was left of the first.
    second = finished(base_dir, tmp_path / "model")
    wait_until(lambda: (second / "plots").is_dir(), what="the visualizer has come so far")

    assert [path for path in base_dir.iterdir() if not path.name.startswith(".")] == [second]
    (session,) = verify_run(moved).sessions
    assert (session.stored, session.gaps, session.missing) == (session.n, [], [])
    assert [run.folder for run in verify_base(base_dir).runs] == [second]


def test_base_dir_that_is_removed_right_after_the_end_never_comes_back(tmp_path):
    base_dir = tmp_path / "runs"
    finished(base_dir, tmp_path / "model")
    state = State.for_base_dir(base_dir)
    assert state.collector_runs()

    base_dir.rename(tmp_path / "trash")  # at one moment, as a removal is not
    moved = State.for_base_dir(tmp_path / "trash")
    wait_until(lambda: not moved.collector_runs(), what="its collector has left")

    assert not base_dir.exists()

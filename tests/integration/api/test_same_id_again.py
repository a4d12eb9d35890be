"""A run is removed and a training reuses its id: it gets its run, and every loss is reported."""

import json
import logging
import shutil

import pytest
from click.testing import CliRunner

from neural.tracking import ExperimentManager, ExperimentTracker
from neural.tracking.cli import main
from neural.tracking.collector import commands
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.state.paths import State
from neural.tracking.verify.verify import verify_base
from tests.integration.api.conftest import STORED_S
from tests.patience import PATIENCE_S, wait_until

TRAINING = """
import sys
from neural.tracking import ExperimentTracker
with ExperimentTracker("train", sys.argv[1] if len(sys.argv) > 1 else None, auto_visualize=False) as tracker:
    for step in range(50):
        tracker.log_metrics({"loss": float(step)}, step=step)
"""


@pytest.fixture
def train(run_script, base):
    """Return a function that runs a training as a script, whose run NTRACK_RUN_ID selects."""
    return lambda: run_script(TRAINING, NTRACK_RUN_ID="cfg-8f3a", NTRACK_DIR=base)


def losses(base):
    """Return the points of the only run, in the order of logging."""
    (run,) = list_runs(base)
    return run.metric("loss", ranks="all").value.tolist()


def assert_all_of(base, *, points, attempts=1):
    wait_until(lambda: list_runs(base) and len(losses(base)) == points, what="all is stored")
    wait_until(lambda: verify_base(base).exit_code == 0, what="nothing is on its way")
    (run,) = list_runs(base)
    assert (run.status, len(run.facts.sessions)) == ("completed", attempts)
    wait_until(lambda: not list(State.for_base_dir(base).outbox.iterdir()), what="no outbox is left")


@pytest.mark.parametrize("running", [True, False], ids=["collector", "no collector"])
@pytest.mark.parametrize("times", [1, 3])
def test_training_after_the_removal_gets_its_run(base, train, running, times):
    for _ in range(times):
        train()
        assert_all_of(base, points=50)
        if not running:
            commands.stop(base, timeout_s=PATIENCE_S)
        (run,) = list_runs(base)
        assert ExperimentManager(base).delete_experiment(run.id)

    train()

    assert_all_of(base, points=50)
    assert [report.removed for report in verify_base(base).runs] == [False]


def test_run_that_was_put_back_from_a_backup_is_whole_and_goes_on(base, train, tmp_path):
    train()
    assert_all_of(base, points=50)
    commands.stop(base, timeout_s=PATIENCE_S)
    (run,) = list_runs(base)
    shutil.copytree(run.folder, tmp_path / "backup")
    assert ExperimentManager(base).delete_experiment(run.id)

    shutil.copytree(tmp_path / "backup", run.folder)
    train()

    assert_all_of(base, points=100, attempts=2)


def test_versions_of_a_run_that_was_put_back_are_pruned_and_noted(base, tmp_path):
    with ExperimentTracker("train", base) as tracker:
        for number in range(3):
            (tmp_path / "model.pt").write_bytes(b"%d" % number * 1000)
            tracker.log_artifact(tmp_path / "model.pt")
    commands.stop(base, timeout_s=PATIENCE_S)
    folder = tracker.experiment_dir
    shutil.copytree(folder, tmp_path / "backup")
    assert ExperimentManager(base).delete_experiment(tracker.experiment_id)
    shutil.copytree(tmp_path / "backup", folder)

    words = ["artifacts", "prune", "-n", "1", "-y", folder.name, "-d", str(base)]
    told = CliRunner().invoke(main, words)

    assert told.exit_code == 0, told.output
    assert [entry.version for entry in Run(folder).facts.artifacts.versions("model.pt")] == [3]
    assert verify_base(base).exit_code == 0


def late(base):
    """Return (number, gaps, exact) of each session that verify reports as removed."""
    wait_until(lambda: verify_base(base).exit_code == 0, what="nothing is on its way")
    removed = [report for report in verify_base(base).runs if report.removed]
    return [(s.n, s.gaps, s.open_gap is None) for report in removed for s in report.sessions]


def test_what_a_live_training_logs_to_its_removed_run_is_told_at_its_end_and_by_verify(base, caplog):
    run = ExperimentTracker("train", base)
    run.log_metrics({"loss": 3.0})
    assert run.flush(STORED_S)

    assert ExperimentManager(base).delete_experiment(run.experiment_id)
    for _ in range(100):
        run.log_metrics({"loss": 3.0})
    with caplog.at_level(logging.WARNING):
        assert run.finish() is False

    emitted = run._recorder.session.emitted
    assert f"{emitted} of {emitted} events of run train were not kept: run_deleted" in caplog.text
    wait_until(lambda: not list(State.for_base_dir(base).outbox.iterdir()), what="its outbox is gone")
    assert late(base) == [(emitted, [(1, emitted, "run_deleted")], True)]
    told = CliRunner().invoke(main, ["verify", "--json", "-d", str(base)])
    assert [report["removed"] for report in json.loads(told.output)["runs"]] == [True]
    assert "run_deleted" in CliRunner().invoke(main, ["verify", "-d", str(base)]).output


def test_live_training_whose_run_is_removed_does_not_write_into_the_next_of_its_id(base, train, monkeypatch):
    monkeypatch.setenv("NTRACK_RUN_ID", "cfg-8f3a")
    old = ExperimentTracker("train", base, auto_visualize=False)
    old.log_metrics({"loss": -1.0})
    assert old.flush(STORED_S)
    assert ExperimentManager(base).delete_experiment(old.experiment_id)

    train()
    old.log_metrics({"loss": -1.0})
    assert old.finish() is False

    assert_all_of(base, points=50)
    assert -1.0 not in losses(base)
    assert [gaps for _, gaps, _ in late(base)] == [[(1, old._recorder.session.emitted, "run_deleted")]]


def test_tracker_that_was_got_before_the_removal_does_not_bring_the_run_back(base):
    with ExperimentTracker("train", base) as run:
        run.log_metrics({"loss": 1.0})
    manager = ExperimentManager(base)
    got = manager.get_experiment(run.experiment_id)
    assert manager.delete_experiment(run.experiment_id)

    got.log_metrics({"loss": 2.0})
    assert got.finish(timeout=STORED_S) is False

    wait_until(lambda: not list(State.for_base_dir(base).outbox.iterdir()), what="its outbox is gone")
    assert list_runs(base) == []
    assert [gaps[0][2] for _, gaps, _ in late(base)] == ["run_deleted"]


def test_outbox_nobody_has_delivered_is_a_gap_that_verify_shows_once_its_run_is_removed(base):
    with ExperimentTracker("train", base, mode="offline") as run:
        for _ in range(20):
            run.log_metrics({"loss": 1.0})
    emitted = run._recorder.session.emitted
    assert ExperimentManager(base).delete_experiment(run.experiment_id)
    assert late(base) == [(emitted, [(1, emitted, "run_deleted")], True)]  # its outbox still exists

    assert commands.start(base, timeout_s=PATIENCE_S) == 0

    wait_until(lambda: not list(State.for_base_dir(base).outbox.iterdir()), what="its outbox is gone")
    assert late(base) == [(emitted, [(1, emitted, "run_deleted")], True)]
    assert list_runs(base) == []
